"""A .tflite file rebuilt as a Keras model that computes the same.

    lifted     what comes of it, and the error for files that cannot be lifted
    walk       goes through the operators
    site       what an operator's entry sees and adds
    operators  one small entry for each operator
    layers     Keras layers for what Keras has none for
    outside    operators that cannot be lifted, and the islands made of them
    island     Keras layers for those: the interpreter runs them
    cut        the file that it runs
    prove      holds a lifted model against the interpreter

The model is made to compute with: plans, importance and new weights. What is shipped is the file
itself, with new weights.
"""

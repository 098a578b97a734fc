"""The .tflite format: reading hostile files safely, editing them, and sparse tensors.

    flatbuffer      checked access to the bytes
    tables          the tables of the TFLite schema that are read, as data
    graph           what a file says, as frozen values
    shapes          which shape an operator's output has
    soundness       refuses subgraphs that contradict themselves
    file            reads a file into a graph
    signature       named inputs and outputs, in one order for everybody
    draft           opens a file for editing, packs and writes it
    archive         ZIP archives that tools append behind the model
    sparse_tensor   encodes and decodes sparse tensors in NumPy
    packed_tensor   packs and unpacks values behind TFLite Micro's DECODE in NumPy
    decode_operator the DECODE operators of a graph

Nothing here knows of devices or Keras.
"""

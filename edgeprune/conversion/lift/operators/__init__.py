"""How each operator of .tflite files becomes layers of Keras: one small entry for each.

    table        all entries by the operator's name
    convolution  CONV_2D, DEPTHWISE_CONV_2D
    deconvolution  TRANSPOSE_CONV
    matrix       FULLY_CONNECTED, BATCH_MATMUL, lookups in tables
    binary       two operands: arithmetic and comparisons
    unary        one operand: activations and functions of each value
    padding      PAD and its kind
    pooling      windows, and reductions over axes
    shaping      reshape, transpose, and what moves between space, depth and batch
    slicing      parts of tensors
    spectrum     RFFT2D and complex numbers
    joining      concatenation, stacks, tiles
    resizing     images of another size
    folding      what is computed from constants alone, in NumPy

An entry is a function of a `Site`, which gives the operator's options and inputs and adds layers;
it returns what Keras has for each output. It raises `BlockedError` with the reason where there is
no counterpart, and `BatchNeededError` where the first axis must not be open.
"""

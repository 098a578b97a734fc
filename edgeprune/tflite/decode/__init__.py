"""Zeros that save flash on a microcontroller: weights packed behind TFLite Micro's DECODE.

    arena      how many bytes activations and unpacked weights take together
    weights    which weights can be packed, and what each saves
    choose     which of them make the smallest file within an arena
    pack       puts a DECODE in front of each reader
    unpack     the way back

The coding itself is `tflite/format/packed_tensor.py`.
"""

"""Writes the weights of a pruned Keras model back into the .tflite file that it was lifted from."""

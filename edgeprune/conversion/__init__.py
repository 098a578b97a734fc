"""Conversion of a Keras model to a .tflite file with a manifest."""

"""Conversion: a Keras model becomes a .tflite file with a manifest."""

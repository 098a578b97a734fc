"""A .tflite file as text that two versions of it can be compared by, line by line."""

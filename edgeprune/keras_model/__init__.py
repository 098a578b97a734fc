"""The one reader of Keras models: layers, calls, copies, files, padding and zeros."""

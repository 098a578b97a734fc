"""How a program, an app or firmware loads a .tflite file: code in its language, with its facts."""

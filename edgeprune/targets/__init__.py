"""Targets: the instruments that run, compile or model a .tflite file, all behind one seam."""

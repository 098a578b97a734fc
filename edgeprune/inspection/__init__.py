"""Inspection: what is in a .tflite file, and whether it is right for a device."""

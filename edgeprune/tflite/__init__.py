"""The .tflite format, in and out: reading, judging, rewriting and storing weights."""

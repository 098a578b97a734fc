"""Quantisation-aware training: the forward pass as the int8 file computes it."""

"""Prune Keras 3 models for a named device, and prove the gain on it."""

"""Exact changes of a .tflite network that let sparse kernels run: equal outputs up to rounding."""

from edgeprune.tflite.rewrites.sequence import REWRITES, Applied, Rewritten, rewrite

__all__ = ["REWRITES", "Applied", "Rewritten", "rewrite"]

"""TensorFlow Lite Micro as an instrument: the real interpreter, from its own Python package.

It says whether a microcontroller's runtime takes a file and computes the same, and how many bytes
of arena it fills. It gives no latency: the speed of this computer says nothing about that of a
microcontroller.
"""

from __future__ import annotations

from edgeprune.targets.tflm.target import TFLM, Tflm

__all__ = ["TFLM", "Tflm"]

"""Android devices over ADB: TensorFlow's own `benchmark_model`, run where the app would run.

No device was at hand when this was written: it is tested with a program that replaces `adb`,
and with outputs of `benchmark_model` that others published.
"""

from edgeprune.targets.adb.target import Adb

__all__ = ["Adb"]

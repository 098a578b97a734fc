"""Emulated ARM64: the real aarch64 runtimes under QEMU, with executed instructions counted.

The wheels that a phone's Linux would install run unchanged in QEMU's user mode, on a named core. A
plugin counts the instructions of one inference (count.c). Counts are no times: they leave out
caches, memory and how many instructions a core completes per cycle.
"""

from __future__ import annotations

from edgeprune.targets.arm64_emulated.target import ARM64_EMULATED, Arm64Emulated

__all__ = ["ARM64_EMULATED", "Arm64Emulated"]

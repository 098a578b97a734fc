"""Arm's compiler for Ethos-U NPUs as an instrument: cycles and memory as the compiler estimates.

The real compiler runs in a child process. What it says of cycles is its own model of the hardware,
so every number of this target is simulated. It finds 2:4 zeros by itself: on Ethos-U85 it tries to
encode each weight so, and takes the faster form.
"""

from __future__ import annotations

from edgeprune.targets.vela.target import Vela, vela_at

__all__ = ["Vela", "vela_at"]

"""Targets: the instruments that run or compile an artifact, all behind one seam.

A target is one module or folder and one line in `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from edgeprune.errors import TargetError
from edgeprune.schema import suggestion
from edgeprune.targets.adb import Adb
from edgeprune.targets.arm64_emulated import ARM64_EMULATED
from edgeprune.targets.edgetpu_model import EDGETPU_MODEL
from edgeprune.targets.host import HOST
from edgeprune.targets.ssh import Ssh
from edgeprune.targets.target import Readiness, Remote, Target
from edgeprune.targets.tflm import TFLM
from edgeprune.targets.vela import vela_at


def _fixed(target: Target) -> Callable[[str], Target]:
    """Makes a target that is in one place only, and so takes no address."""

    def make(address: str) -> Target:
        if address:
            raise TargetError(
                f"This target is in one place only: expected its name alone. Received: :{address}."
            )
        return target

    return make


TARGETS: Mapping[str, Callable[[str], Target]] = MappingProxyType(
    {
        "host": _fixed(HOST),
        "arm64-emulated": _fixed(ARM64_EMULATED),
        "tflm": _fixed(TFLM),
        "vela": vela_at,
        "edgetpu-model": _fixed(EDGETPU_MODEL),
        "ssh": Ssh,
        "adb": Adb,
    }
)
"""What makes an instrument out of its address, by the name that `--target NAME[:ADDRESS]` takes."""


def find_target(name: str) -> Target:
    """The instrument of a name, such as `host`, or of a name and an address behind a colon.

    Raises:
      TargetError: there is no such instrument, or it takes no such address.
    """
    kind, _, address = name.partition(":")
    if kind not in TARGETS:
        raise TargetError(
            f"Unknown target '{name}'.{suggestion(kind, TARGETS)} Known: {', '.join(TARGETS)}."
        )
    return TARGETS[kind](address)


__all__ = ["TARGETS", "Readiness", "Remote", "Target", "find_target"]

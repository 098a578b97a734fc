"""Finds a target by its name.

A target is one module or folder, and one function here in `TARGETS`, which imports it when it is
asked for: most commands need one instrument, or none.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeprune.core.errors import TargetError
from edgeprune.core.spelling import suggestion
from edgeprune.core.terms import CORE_FEATURES, Numerics
from edgeprune.targets.target import Installable, Target

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile


def _host(address: str) -> Target:
    from edgeprune.targets.host import HOST

    return _without_address(HOST, address)


def _arm64_emulated(address: str) -> Target:
    from edgeprune.targets.arm64_emulated import ARM64_EMULATED

    return _without_address(ARM64_EMULATED, address)


def _latest_arm64_emulated() -> Installable:
    from edgeprune.targets.arm64_emulated.install_latest import LATEST_ARM64_EMULATED

    return LATEST_ARM64_EMULATED


def _tflm(address: str) -> Target:
    from edgeprune.targets.tflm import TFLM

    return _without_address(TFLM, address)


def _vela(address: str) -> Target:
    from edgeprune.targets.vela import vela_at

    return vela_at(address)


def _edgetpu_model(address: str) -> Target:
    from edgeprune.targets.edgetpu_model import EDGETPU_MODEL

    return _without_address(EDGETPU_MODEL, address)


def _ssh(address: str) -> Target:
    from edgeprune.targets.ssh import Ssh

    return Ssh(address)


def _adb(address: str) -> Target:
    from edgeprune.targets.adb import Adb

    return Adb(address)


def _without_address(target: Target, address: str) -> Target:
    """A target that is in one place only, and so takes no address."""
    if address:
        raise TargetError(
            f"This target is in one place only: expected its name alone. Received: :{address}."
        )
    return target


TARGETS: Mapping[str, Callable[[str], Target]] = MappingProxyType(
    {
        "host": _host,
        "arm64-emulated": _arm64_emulated,
        "tflm": _tflm,
        "vela": _vela,
        "edgetpu-model": _edgetpu_model,
        "ssh": _ssh,
        "adb": _adb,
    }
)
"""What makes an instrument out of its address, by the name that `--target NAME[:ADDRESS]` takes."""

LATEST: Mapping[str, Callable[[], Installable]] = MappingProxyType(
    {"arm64-emulated": _latest_arm64_emulated}
)
"""What adds the newest runtimes and devices to an instrument, by the instrument's name."""


def find_target(name: str) -> Target:
    """The instrument of a name, such as `host`, or of a name and an address behind a colon.

    Raises:
      TargetError: there is no such instrument, or it takes no such address.
    """
    kind, _, address = name.partition(":")
    _require_known(kind, TARGETS)
    return TARGETS[kind](address)


def find_installable(name: str) -> Installable:
    """An instrument by its name, or a runtime that `host` runs in an environment of its own.

    Raises:
      TargetError: as `find_target`.
    """
    from edgeprune.targets.own_environment import OWN_ENVIRONMENTS

    if name in OWN_ENVIRONMENTS:
        return OWN_ENVIRONMENTS[name]
    _require_known(name.partition(":")[0], (*TARGETS, *OWN_ENVIRONMENTS))
    return find_target(name)


def find_latest(name: str) -> Installable:
    """What adds the newest runtimes and devices to an instrument that has older ones otherwise.

    Raises:
      TargetError: as `find_target`, or there is nothing newer to add to it.
    """
    find_installable(name)
    if name not in LATEST:
        raise TargetError(
            f"Target '{name}' has one version, which is set up without --latest. Received: "
            f"--latest. Those that have a newer one: {', '.join(LATEST)}."
        )
    return LATEST[name]()


def _require_known(name: str, known: Collection[str]) -> None:
    if name not in known:
        raise TargetError(
            f"Unknown target '{name}'.{suggestion(name, known)} Known: {', '.join(known)}."
        )


def own_targets(profile: DeviceProfile) -> tuple[tuple[str, Target], ...]:
    """The instruments that a profile names, each behind its name."""
    return tuple((name, find_target(name)) for name in profile.targets if name in TARGETS)


def measures_device(name: str, profile: DeviceProfile) -> bool:
    """Whether a target is one of the profile's own, so that what it says holds for the device.

    One that measures this computer does so for devices alone that are such a computer.

    Args:
      name: as `find_target` takes it.
      profile: the device.
    """
    if name.partition(":")[0] not in profile.targets:
        return False
    here = not profile.machines or platform.machine() in profile.machines
    return here or not find_target(name).capabilities.this_computer


def times_this_computer(name: str) -> bool:
    """Whether a target's times are of the computer that edgeprune runs on.

    Args:
      name: as `find_target` takes it, or of anything else, which is none.
    """
    kind = name.partition(":")[0]
    return kind in TARGETS and find_target(name).capabilities.this_computer


def runs_numerics(profile: DeviceProfile, numerics: Numerics) -> bool:
    """Whether a device runs dense files of a number format as such.

    It does where a route that it can take has that format, and where it computes on a general
    processor; in half precision only on ARM64 cores that have it.
    """
    routes = (r for r in profile.offered if r.numerics == numerics and not profile.lacks(r))
    if numerics in profile.other_numerics or any(routes):
        return True
    able = [target.capabilities for _, target in own_targets(profile)]
    if not any(each.every_numerics for each in able):
        return False
    arm64 = any(each.sparse_networks for each in able)
    halves = arm64 and "fp16-arithmetic" in CORE_FEATURES.get(profile.core, ())
    return halves or numerics != "float16-arithmetic"


def runs_sparse_networks(profile: DeviceProfile) -> bool:
    """Whether XNNPACK may run a network sparsely as a whole on a device.

    Only on ARM64 does it: the profile's encoding says so, or an instrument of its measures such
    processors.
    """
    return profile.encoding.sparse_networks or any(
        target.capabilities.sparse_networks for _, target in own_targets(profile)
    )

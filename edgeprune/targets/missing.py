"""Instruments that devices need and that are not set up: which, for whom, and setting them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.core.errors import TargetError
from edgeprune.core.progress import Progress
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.find import TARGETS, find_target
from edgeprune.targets.measuring import local_targets, readiness_for
from edgeprune.targets.target import Readiness, Remote


@dataclass(frozen=True)
class Missing:
    """An instrument that is not ready, and the devices that it would measure."""

    target: str
    devices: tuple[str, ...]
    """Names of the devices that nothing else measures here."""
    state: Readiness

    @property
    def command(self) -> str:
        """What sets it up; empty where edgeprune cannot do that on this machine."""
        return f"edgeprune targets install {self.target}" if self.state.installs else ""

    @property
    def remedy(self) -> str:
        """The command in quotes, or what stands in its way here."""
        return f"`{self.command}`" if self.command else f"{self.target} is {self.state.detail}"

    def install(self, tell: Progress) -> None:
        """Sets it up.

        Raises:
          TargetError: it cannot be set up here, or something could not be fetched.
        """
        if not self.command:
            raise TargetError(
                f"Target '{self.target}' cannot be set up here: {self.state.detail}. "
                f"{self.state.remedy}"
            )
        find_target(self.target).install(tell)


def missing_instrument(profile: DeviceProfile) -> Missing | None:
    """The best of a device's own instruments, where none of them is ready here.

    None if one is ready, or if the device is measured on other machines alone.
    """
    names = local_targets(profile)
    states = {name: readiness_for(name, profile) for name in names}
    if not names or any(state.ready for state in states.values()):
        return None
    best = next((name for name in names if states[name].installs), names[0])
    return Missing(best, (profile.name,), states[best])


def missing_instruments(
    profiles: Sequence[DeviceProfile], asked: Sequence[str] = ()
) -> tuple[Missing, ...]:
    """What has to be set up to measure devices, each instrument once.

    Args:
      profiles: the devices.
      asked: names of instruments that are used in place of the devices' own choice.
    """
    if asked:
        targets = {name: find_target(name) for name in asked}
        states = {
            name: target.readiness()
            for name, target in targets.items()
            if not isinstance(target, Remote)
        }
        return tuple(Missing(name, (), state) for name, state in states.items() if not state.ready)
    found: dict[str, Missing] = {}
    for missing in filter(None, map(missing_instrument, profiles)):
        before = found.get(missing.target)
        devices = (*before.devices, *missing.devices) if before else missing.devices
        found[missing.target] = Missing(missing.target, devices, missing.state)
    return tuple(found.values())


def not_measured(profile: DeviceProfile) -> str:
    """What would measure a device that nothing measures here, in a few words."""
    missing = missing_instrument(profile)
    if missing is not None:
        return missing.remedy
    far = (find_target(name) for name in profile.targets if name in TARGETS)
    remedies = [target.readiness().remedy for target in far if isinstance(target, Remote)]
    return remedies[0] if remedies else "this computer is not such a device"

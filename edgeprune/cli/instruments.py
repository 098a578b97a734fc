"""Instruments that a comparison needs: what is missing, and setting it up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeprune.cli import terminal
from edgeprune.core.errors import TargetError

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile
    from edgeprune.targets.missing import Missing


def offer(profiles: Sequence[DeviceProfile], asked: Sequence[str]) -> None:
    """Says what would measure the devices that nothing measures here."""
    from edgeprune.targets.missing import missing_instruments

    for missing in missing_instruments(profiles, asked):
        if missing.command:
            terminal.say(
                f"To measure {_names(missing)}: {missing.command}, or the same command with "
                f"--install-targets ({missing.state.installs})."
            )


def set_up_where_possible(profiles: Sequence[DeviceProfile]) -> None:
    """Sets up what measures the devices; where that cannot be done it says so, and goes on."""
    from edgeprune.targets.missing import missing_instruments

    for missing in missing_instruments(profiles):
        if not missing.command:
            terminal.say(
                f"{_names(missing)}: not measured, since {missing.target} is "
                f"{missing.state.detail}. {missing.state.remedy}"
            )
            continue
        terminal.say(
            f"Setting up {missing.target}, which measures {_names(missing)}: "
            f"{missing.state.installs} (--no-install-targets leaves it out)."
        )
        try:
            with terminal.progress_bar() as tell:
                missing.install(tell)
        except TargetError as error:
            terminal.warn([f"going on without {missing.target}, which was not set up: {error}"])


def _names(missing: Missing) -> str:
    return " and ".join(missing.devices) or missing.target

"""Instruments that are a Python package: whether it is here, and how it gets here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

from edgeprune.core.errors import TargetError
from edgeprune.core.runtime import installed_version
from edgeprune.targets.commands import run_command
from edgeprune.targets.target import Readiness


@dataclass(frozen=True)
class Package:
    """A package that a target needs, at the version that it was checked with."""

    target: str
    name: str
    version: str

    @property
    def requirement(self) -> str:
        """The package as pip takes it."""
        return f"{self.name}=={self.version}"

    @property
    def command(self) -> str:
        """What installs it by hand."""
        return f"{sys.executable} -m pip install {self.requirement}"

    @property
    def installed(self) -> str | None:
        """The version that is installed; None if none is."""
        return installed_version(self.name)

    def readiness(self) -> Readiness:
        """Ready if some version of it is installed."""
        found = self.installed
        if found is None:
            remedy = f"edgeprune targets install {self.target}"
            installs = f"{self.requirement}, by pip, into {sys.prefix}"
            return Readiness(False, f"{self.name} is not installed", remedy, installs)
        known = "" if found == self.version else f", not the {self.version} that was checked"
        return Readiness(True, f"{self.name} {found}{known}")

    def require(self) -> None:
        """Checks that it is installed.

        Raises:
          TargetError: it is not; says what installs it.
        """
        state = self.readiness()
        if not state.ready:
            raise TargetError(
                f"Target '{self.target}' is not ready: {state.detail}. Run: {state.remedy}"
            )

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Has pip put it into the Python that edgeprune runs in; does nothing if it is there.

        Raises:
          TargetError: pip failed, with its last words and the command to run by hand.
        """
        if self.readiness().ready:
            return
        tell(f"installing {self.requirement}", 0, 1)
        arguments = ["install", "--quiet", "--disable-pip-version-check", self.requirement]
        run_command(
            f"target '{self.target}'",
            [sys.executable, "-m", "pip", *arguments],
            f"Try it by hand: {self.command}",
        )
        importlib.invalidate_caches()

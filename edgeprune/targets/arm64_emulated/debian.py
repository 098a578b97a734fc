"""Debian packages by name, without touching the system: own lists, apt's signatures, own folder.

`apt-get` works for ordinary users as long as every folder it writes to is theirs. Packages come
from where this machine's own come from, and apt checks signatures as it does for the system itself.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from edgeprune.core.errors import TargetError
from edgeprune.targets.arm64_emulated.emulator import NAME
from edgeprune.targets.commands import run_command

_REMEDY = (
    "Check that apt's sources in /etc/apt name Debian 12 main for amd64 and arm64 and can be "
    "reached, then run the command again."
)


@dataclass(frozen=True)
class Machine:
    """A kind of computer that the emulator can be set up on."""

    architecture: str
    """As Debian names it."""
    triplet: str
    """As the folders of its libraries are named."""


MACHINES: Mapping[str, Machine] = {
    "x86_64": Machine("amd64", "x86_64-linux-gnu"),
    "aarch64": Machine("arm64", "aarch64-linux-gnu"),
}


def require_machine() -> Machine:
    """The kind of computer this is.

    Raises:
      TargetError: it is not Debian 12 on x86-64 or ARM64.
    """
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    found = f"{release.get('ID', platform.system())} {release.get('VERSION_ID', '')}".strip()
    machine = MACHINES.get(platform.machine())
    if found != "debian 12" or machine is None:
        raise TargetError(
            "Target 'arm64-emulated' needs Linux: it is set up from packages of Debian 12 on "
            f"x86-64 or ARM64. Received: {found} on {platform.machine()}. Use such a machine or "
            "container, for example: docker run -it debian:12"
        )
    return machine


class Archive:
    """Debian's package lists in a folder of their own, for several architectures at once."""

    def __init__(self, folder: Path, architectures: Sequence[str]) -> None:
        """Fetches the lists.

        Args:
          folder: for lists and packages; made here.
          architectures: as Debian names them, that of this machine first.

        Raises:
          TargetError: apt is missing, cannot reach the archive or does not trust what it got.
        """
        self.packages = folder / "packages"
        for name in ("lists/partial", "cache/archives/partial", "packages"):
            (folder / name).mkdir(parents=True)
        self._options = [
            f"-oDir::State::lists={folder / 'lists'}",
            "-oDir::State::status=/dev/null",
            f"-oDir::Cache={folder / 'cache'}",
            "-oDir::Etc::preferences=/dev/null",
            "-oDir::Etc::preferencesparts=/dev/null",
            "-oAPT::Sandbox::User=root",
            "-oAcquire::Languages=none",
            "-oAcquire::Retries=3",
            f"-oAPT::Architecture={architectures[0]}",
            *(f"-oAPT::Architectures::={name}" for name in dict.fromkeys(architectures)),
        ]
        run_command(NAME, ["apt-get", "-qq", *self._options, "update"], _REMEDY, folder=folder)

    def unpack(self, names: Sequence[str], architecture: str, folder: Path) -> dict[str, str]:
        """Downloads packages and unpacks them into a folder; runs none of their scripts.

        Args:
          names: of the packages, without dependencies.
          architecture: as Debian names it.
          folder: gets usr/, lib/, ...

        Returns:
          Version by package name.

        Raises:
          TargetError: a package is not there or its checksum is wrong.
        """
        wanted = [f"{name}:{architecture}" for name in names]
        run_command(
            NAME,
            ["apt-get", "-qq", *self._options, "download", *wanted],
            _REMEDY,
            folder=self.packages,
        )
        folder.mkdir(exist_ok=True)
        versions = {}
        for package in sorted(self.packages.glob("*.deb")):
            run_command(NAME, ["dpkg-deb", "-x", package, folder], _REMEDY)
            name, version = package.name.split("_")[:2]
            versions[f"{name}:{architecture}"] = unquote(version)
            package.unlink()
        shutil.rmtree(folder / "usr/share", ignore_errors=True)
        return versions

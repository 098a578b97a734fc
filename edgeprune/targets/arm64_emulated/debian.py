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

DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
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
            *_own_folders(folder),
            "-oDir::State::status=/dev/null",
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


def download_source(package: str, suite: str, folder: Path) -> None:
    """Downloads a source package of another release of Debian, from this machine's own mirror.

    Args:
      package: its name.
      suite: the release.
      folder: gets the .dsc and the archives, which apt checks; what is there is removed.

    Raises:
      TargetError: apt is missing, cannot reach the archive or does not trust what it got.
    """
    shutil.rmtree(folder, ignore_errors=True)
    lists = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (lists / name).mkdir(parents=True)
    mirror, sources = _mirror(), lists / "suite.sources"
    sources.write_text(
        f"Types: deb-src\nURIs: {mirror}\nSuites: {suite}\nComponents: main\n"
        f"Signed-By: {KEYRING}\n",
        encoding="utf-8",
    )
    options = [
        *_own_folders(lists),
        f"-oDir::Etc::sourcelist={sources}",
        "-oDir::Etc::sourceparts=/dev/null",
    ]
    remedy = (
        f"Check that {mirror} has {suite} and can be reached, and that debian-archive-keyring is "
        "up to date, then run the command again."
    )
    run_command(NAME, ["apt-get", "-qq", *options, "update"], remedy)
    download = ["apt-get", "-qq", *options, "source", "--download-only", package]
    run_command(NAME, download, remedy, folder=folder)
    shutil.rmtree(lists)


def _own_folders(folder: Path) -> tuple[str, ...]:
    """Options that keep apt away from the system's lists, packages and preferences."""
    return (
        f"-oDir::State::lists={folder / 'lists'}",
        f"-oDir::Cache={folder / 'cache'}",
        "-oDir::Etc::preferences=/dev/null",
        "-oDir::Etc::preferencesparts=/dev/null",
        "-oAPT::Sandbox::User=root",
        "-oAcquire::Languages=none",
        "-oAcquire::Retries=3",
    )


def _mirror() -> str:
    """Where this machine takes Debian's packages from, security updates aside."""
    wanted = ["Created-By: Packages", "Label: Debian", "Component: main"]
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]
    return next(iter(run_command(NAME, command, _REMEDY).split()), DEFAULT_MIRROR)

"""An emulator in the cache folder, and how a Python in it is started."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.runtime import Runtime, RuntimeName
from edgeprune.core.terms import CORE_SINCE_QEMU, Core
from edgeprune.targets.cache import cache_folder
from edgeprune.targets.child import Launcher
from edgeprune.targets.worker import MODULES

NAME = "arm64-emulated"
_HERE = Path(__file__).parent
COUNT_SOURCE = _HERE / "count.c"
CYCLES_SOURCE = _HERE / "cycles.c"
PLUGIN_SOURCES = (COUNT_SOURCE, CYCLES_SOURCE, _HERE / "plugin.h", _HERE / "caches.h")
"""All that the plugins are compiled from."""
REQUIREMENTS = _HERE / "requirements.txt"
QEMU_PACKAGES = (
    "qemu-user",
    "libcapstone4",
    "libffi8",
    "libglib2.0-0",
    "libgmp10",
    "libgnutls30",
    "libhogweed6",
    "libidn2-0",
    "libnettle8",
    "libnuma1",
    "libp11-kit0",
    "libpcre2-8-0",
    "libtasn1-6",
    "libunistring2",
    "liburing2",
)
"""QEMU and its libraries, for the machine that emulates; libc, libgcc and zlib are everywhere."""
GUEST_PACKAGES = (
    "python3.11-minimal",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "zlib1g",
)
"""Python and its libraries for ARM64."""
EMULATED_RUNTIMES: tuple[RuntimeName, ...] = ("tflite-runtime", "LiteRT")
"""Those of the worker's runtimes whose wheels are there, the reference first."""
RECORD = "versions.json"
COMMAND = f"edgeprune targets install {NAME}"
LATEST_COMMAND = f"{COMMAND} --latest"
TRY_AGAIN = f"Run again: {COMMAND}"
GUEST_TRIPLET = "aarch64-linux-gnu"
PYTHON_OPTIONS = ("-s", "-S", "-B")
"""Nothing of the user's own, and no writing into the cache."""


@dataclass(frozen=True)
class Emulator:
    """What a set-up left in its folder."""

    folder: Path
    """Holds host/ (QEMU), root/ (ARM64 Python), site/ (wheels), the plugins and versions.json."""

    @property
    def qemu(self) -> Path:
        """The emulator program."""
        return self.folder / "host/usr/bin/qemu-aarch64"

    @property
    def plugin(self) -> Path:
        """The counting plugin."""
        return self.folder / "count.so"

    @property
    def cycles_plugin(self) -> Path:
        """The plugin that tells executed blocks and cache misses."""
        return self.plugin.with_name("cycles.so")

    @property
    def python(self) -> Path:
        """The ARM64 Python."""
        return self.folder / "root/usr/bin/python3.11"

    @property
    def root(self) -> Path:
        """Holds the files that programs find in place of this machine's own."""
        return self.folder / "root"

    def complete(self) -> bool:
        """Whether everything is there for this user; a set-up writes the record last."""
        plugins = (self.plugin, self.cycles_plugin)
        needed = (self.qemu, *plugins, self.python, self.folder / "site/numpy")
        return all(os.access(path, os.R_OK) for path in (*needed, self.folder / RECORD))

    def version(self, name: str) -> str:
        """Version of `qemu`, or of a wheel by its package name, as recorded at set-up."""
        record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        return str(record["qemu"] if name == "qemu" else record["wheels"][name])

    def runtimes(self) -> tuple[Runtime, ...]:
        """The runtimes that it runs, the reference first."""
        return tuple(Runtime(name, self.version(MODULES[name][1])) for name in EMULATED_RUNTIMES)

    def knows(self, core: Core) -> bool:
        """Whether its QEMU emulates a core."""
        return CORE_SINCE_QEMU.get(core, (0, 0)) <= version_numbers(self.version("qemu"))

    def libraries(self) -> str:
        """Where QEMU's libraries are, as LD_LIBRARY_PATH wants it."""
        triplet = f"{platform.machine()}-linux-gnu"
        return ":".join(str(self.folder / "host" / lib / triplet) for lib in ("usr/lib", "lib"))

    def emulated(self, core: Core, log: Path | None = None, *, blocks: bool = False) -> Launcher:
        """A Python on an emulated core.

        It inherits no environment: variables lie on the stack of a program, and what lies where
        moves counts by up to 1e-5.

        Args:
          core: QEMU's default is never used: LiteRT computes int8 wrongly on it.
          log: gets the counts of marked inferences; nothing is counted if None.
          blocks: whether it also gets their executed blocks and cache misses.
        """
        plugins = (self.plugin, *((self.cycles_plugin,) if blocks else ()))
        loaded = [part for plugin in plugins for part in ("-plugin", str(plugin))]
        counting = (*loaded, "-d", "plugin", "-D", str(log)) if log else ()
        guest = {**self._python_variables(), "PYTHONHASHSEED": "0"}
        return Launcher(
            (
                str(self.qemu),
                *("-cpu", core, "-L", str(self.root), "-U", "LD_LIBRARY_PATH"),
                *(part for item in guest.items() for part in ("-E", "=".join(item))),
                *counting,
                str(self.python),
                *PYTHON_OPTIONS,
            ),
            {"LD_LIBRARY_PATH": self.libraries(), "LANG": "C.UTF-8"},
            inherits=False,
        )

    def native(self) -> Launcher:
        """The same Python run by the ARM64 processor of this machine itself."""
        root = self.folder / "root"
        libraries = ":".join(str(root / lib / GUEST_TRIPLET) for lib in ("lib", "usr/lib"))
        loader = str(root / "lib/ld-linux-aarch64.so.1")
        return Launcher(
            (loader, "--library-path", libraries, str(self.python), *PYTHON_OPTIONS),
            self._python_variables(),
        )

    def _python_variables(self) -> Mapping[str, str]:
        return {
            "PYTHONHOME": str(self.folder / "root/usr"),
            "PYTHONPATH": ":".join(map(str, self.sites())),
        }

    def sites(self) -> tuple[Path, ...]:
        """Where the ARM64 Python looks for wheels, in this order."""
        return (self.folder / "site",)


def version_numbers(version: str) -> tuple[int, ...]:
    """A version such as `7.2.22` by its numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def plugin_sources() -> tuple[bytes, ...]:
    """What the plugins are compiled from; a set-up of other sources is another one."""
    return tuple(path.read_bytes() for path in PLUGIN_SOURCES)


def cached_emulator() -> Emulator:
    """The emulator's place in the user's cache folder, set up or not.

    The folder is named after what goes into it, so that a newer edgeprune sets up its own.
    """
    recipe = hashlib.sha256(
        b"\0".join(
            (
                *plugin_sources(),
                REQUIREMENTS.read_bytes(),
                " ".join((*QEMU_PACKAGES, "/", *GUEST_PACKAGES, platform.machine())).encode(),
            )
        )
    )
    return Emulator(cache_folder() / f"{NAME}-{recipe.hexdigest()[:12]}")

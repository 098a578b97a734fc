"""Whether the emulators are set up, and for which cores; nothing here starts one."""

from __future__ import annotations

from edgeprune.core.errors import TargetError
from edgeprune.core.terms import CORE_SINCE_QEMU, Core
from edgeprune.targets.arm64_emulated.debian import require_machine
from edgeprune.targets.arm64_emulated.emulator import COMMAND, LATEST_COMMAND, cached_emulator
from edgeprune.targets.arm64_emulated.latest import cached_latest
from edgeprune.targets.arm64_emulated.llvm_mca import INSTALL_LLVM, find_llvm_mca
from edgeprune.targets.target import Readiness

CONTENTS = "QEMU and the ARM64 runtimes, some 75 MB of downloads (115 MB without a C compiler)"


def readiness() -> Readiness:
    """Ready if the first emulator is set up; says how if not."""
    emulator = cached_emulator()
    if emulator.complete():
        return _describe_ready()
    try:
        require_machine()
    except TargetError as error:
        return Readiness(False, "not for this machine", str(error))
    return Readiness(False, "not installed", COMMAND, f"{CONTENTS}, into {emulator.folder}")


def readiness_on(core: Core) -> Readiness:
    """The same for a core, which may be one that the newer emulator alone knows."""
    state = readiness()
    possible = state.ready or state.installs
    if core not in CORE_SINCE_QEMU or cached_latest().complete() or not possible:
        return state
    what = "set up without" if state.ready else "not set up for"
    return Readiness(False, f"{what} {core}, which `{LATEST_COMMAND}` adds", LATEST_COMMAND)


def _describe_ready() -> Readiness:
    """What is set up: the runtimes, under which QEMU, and what models cycles or installs that."""
    llvm = find_llvm_mca()
    if llvm is None:
        return Readiness(True, _what_runs(), f"for modelled cycles: {INSTALL_LLVM}")
    return Readiness(True, f"{_what_runs()}; modelled cycles by llvm-mca {llvm.version}")


def _what_runs() -> str:
    first, latest = cached_emulator(), cached_latest()
    found = ", ".join(map(str, first.runtimes()))
    said = f"{found} under QEMU {first.version('qemu')}"
    if not latest.complete():
        return said
    added = ", ".join(str(each) for each in latest.runtimes() if each not in first.runtimes())
    return f"{said}; {added} and newer cores under QEMU {latest.version('qemu')}"

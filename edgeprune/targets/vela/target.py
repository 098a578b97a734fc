"""The instrument: cycles, memory and placement of files compiled for an Ethos-U NPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from edgeprune.core.errors import TargetError
from edgeprune.core.files import describe_file, require_folder, write_file
from edgeprune.core.spelling import suggestion
from edgeprune.core.terms import Accelerator
from edgeprune.targets.checks import Case, Check
from edgeprune.targets.child import WorkerError
from edgeprune.targets.latency import Speedup
from edgeprune.targets.limits import check_limit
from edgeprune.targets.measurement import LayerCost, Measurement, Settings
from edgeprune.targets.packages import Package
from edgeprune.targets.sparse_weights import sparse_refusal
from edgeprune.targets.target import Capabilities, Readiness
from edgeprune.targets.vela.compiler import Compiled, Configuration, compile_for_npu, configuration
from edgeprune.targets.vela.layers import layer_costs
from edgeprune.tflite.compiled import COMPILERS, made_by, require_uncompiled
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.file import Graph

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

_NAME = "vela"
VELA_PACKAGE = Package(_NAME, "ethos-u-vela", "5.2.0")


class Vela:
    """Compiles files for the NPU of a profile, or for another one that was named."""

    capabilities = Capabilities(
        says_flash=True,
        finds_zeros=True,
        leaves_unknown=True,
        repeatable=True,
        cost_unit="cycles",
    )

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self.accelerator = accelerator

    def readiness(self) -> Readiness:
        """Ready if the compiler is installed."""
        state = VELA_PACKAGE.readiness()
        more = "; vela:ACCELERATOR compiles for another than the profile's" if state.ready else ""
        return replace(state, detail=state.detail + more)

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Installs the compiler where edgeprune is."""
        VELA_PACKAGE.install(tell)

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Compiles every file, and keeps what the compiler made of it (see `compiled_path`)."""
        if settings.runtime is not None:
            raise TargetError(
                f"Target '{_NAME}' compiles and has no runtime to choose. Received: "
                f"{settings.runtime}."
            )
        VELA_PACKAGE.require()
        hardware = self._hardware(profile)
        graphs = [tflite_file.read(path) for path in models]
        for graph in graphs:
            require_uncompiled(graph)
        outputs = [compiled_path(path, settings.artifacts, hardware) for path in models]
        for output in outputs:
            require_folder(output)
        compiled = [_compile_named(graph, hardware) for graph in graphs]
        for output, made in zip(outputs, compiled, strict=True):
            write_file(output, made.model)
        return tuple(
            _measurement(graph, profile, made, output, compiled[0] if index else None)
            for index, (graph, made, output) in enumerate(
                zip(graphs, compiled, outputs, strict=True)
            )
        )

    def check(self, case: Case) -> Iterator[Check]:
        """Whether the compiler takes a file, what stays on the CPU, and what memory it takes."""
        misread = _sparse_refusal(case.graph)
        if misread:
            yield Check("dense weights (vela)", False, "sparse", "dense", misread, kind="storage")
            return
        compiler = COMPILERS.get(made_by(case.graph) or "")
        if compiler:
            message = f"{compiler} made this file; validate the one that {compiler} was given"
            yield Check("compiles (vela)", False, "compiled", "not yet", message, kind="compiles")
            return
        state = self.readiness()
        if not state.ready:
            message = f"not compiled: {state.detail}. To compile it: {state.remedy}"
            yield Check("compiles (vela)", True, None, None, message, kind="compiles")
            return
        hardware = self._hardware(case.profile)
        name = f"compiles ({_runtime(hardware)})"
        try:
            compiled = compile_for_npu(case.graph.path, hardware)
        except WorkerError as error:
            message = f"{case.graph.path.name} cannot be compiled: {error}"
            yield Check(name, False, str(error), "compiles", message, kind="compiles")
            return
        message = (
            f"{compiled.npu_cycles} cycles of the NPU, {compiled.cycles} in all (simulated, "
            f"{hardware})"
        )
        yield Check(name, True, "compiles", "compiles", message, kind="compiles")
        yield _check_placement(layer_costs(compiled, case.graph))
        yield from _check_memory(compiled, case.profile)

    def _hardware(self, profile: DeviceProfile) -> Configuration:
        try:
            return configuration(profile.vela, self.accelerator)
        except TargetError as error:
            raise TargetError(f"{profile.name}: {error}") from error


def vela_at(address: str) -> Vela:
    """The compiler for an accelerator by its name, or for the profile's if the name is empty.

    Raises:
      TargetError: no accelerator of that name.
    """
    known = get_args(Accelerator)
    if not address:
        return Vela()
    for accelerator in known:
        if accelerator == address:
            return Vela(accelerator)
    raise TargetError(
        f"Expected an accelerator that the compiler knows: {', '.join(known)}. Received: "
        f"'{address}'.{suggestion(address, known)}"
    )


def compiled_path(model: Path, folder: Path | None, hardware: Configuration) -> Path:
    """Where the compiled form of a model is kept: beside it, as `<model>_vela.tflite`.

    In a folder for artifacts, where files for several devices meet, the accelerator is in the name.
    """
    if folder is None:
        return model.with_name(f"{model.stem}_vela.tflite")
    return folder / f"{model.stem}_{hardware.accelerator}_vela.tflite"


def compile_beside(model: Path, profile: DeviceProfile) -> Path:
    """Compiles a file for the NPU of a profile; returns the compiled file, beside it.

    Raises:
      TargetError: the compiler is not installed, or does not take the file.
      TfliteError: the file does not parse.
      OutputError: the compiled file cannot be written.
    """
    VELA_PACKAGE.require()
    hardware = configuration(profile.vela)
    output = compiled_path(model, None, hardware)
    write_file(output, _compile_named(tflite_file.read(model), hardware).model)
    return output


def _sparse_refusal(graph: Graph) -> str:
    """Why the compiler must not get a file that stores weights sparsely; empty if it may."""
    return sparse_refusal(
        graph,
        restored="behind DENSIFY, which the compiler does not know",
        misread="and the compiler would ignore that and take wrong weights",
    )


def _compile_named(graph: Graph, hardware: Configuration) -> Compiled:
    """Compiles a file whose errors have to name it."""
    misread = _sparse_refusal(graph)
    if misread:
        raise WorkerError(f"{graph.path}: {misread}")
    try:
        return compile_for_npu(graph.path, hardware)
    except WorkerError as error:
        raise WorkerError(
            f"{graph.path}: {_runtime(hardware)} does not take it: {error}"
        ) from error


def _runtime(hardware: Configuration) -> str:
    found = VELA_PACKAGE.installed or VELA_PACKAGE.version
    return f"{VELA_PACKAGE.name} {found}, {hardware.accelerator}"


def _measurement(
    graph: Graph, profile: DeviceProfile, compiled: Compiled, output: Path, first: Compiled | None
) -> Measurement:
    hardware = compiled.configuration
    artifact = describe_file(graph.path)
    layers = layer_costs(compiled, graph)
    on_cpu = sum(layer.where == "CPU" for layer in layers)
    on_npu = len(graph.operators) - on_cpu
    return Measurement(
        model=str(graph.path),
        device=profile.name,
        target=_NAME,
        runtime=_runtime(hardware),
        simulated=True,
        size_bytes=artifact.size_bytes,
        gzip_bytes=artifact.gzip_bytes,
        speedup=_fewer_cycles(first, compiled) if first is not None else None,
        cycles=compiled.cycles if on_npu else None,
        npu_cycles=compiled.npu_cycles if on_npu else None,
        memory=_memory(compiled),
        ops_on_device=on_npu,
        ops_on_cpu=on_cpu,
        layers=layers,
        artifact=str(output),
        conditions=_conditions(compiled),
        warnings=_warnings(layers),
    )


def _fewer_cycles(first: Compiled, other: Compiled) -> Speedup | None:
    if not first.cycles or not other.cycles:
        return None
    ratio = first.cycles / other.cycles
    return Speedup(ratio, (ratio, ratio), of="cycles")


def _memory(compiled: Compiled) -> dict[str, int]:
    """Bytes by kind of memory; a kind that is not used is left out."""
    found = {
        "sram_bytes": compiled.memory_bytes("sram"),
        "dram_bytes": compiled.memory_bytes("dram"),
        "flash_bytes": flash_bytes(compiled),
        "encoded_weights_bytes": int(compiled.summary["total_npu_encoded_weights"]),
    }
    return {name: size for name, size in found.items() if size}


def flash_bytes(compiled: Compiled) -> int:
    """What is to be kept in flash: constants as the compiler places them, else the whole file.

    A memory mode that has constants in DRAM says nothing of the flash that they come from.
    """
    placed = compiled.memory_bytes("on_chip_flash") + compiled.memory_bytes("off_chip_flash")
    return placed or len(compiled.model)


def _conditions(compiled: Compiled) -> str:
    area = compiled.summary["weights_storage_area"]
    flash = (
        "flash is what the compiler places there"
        if "Flash" in area
        else f"constants are in {area}, flash is the size of the compiled file"
    )
    return (
        f"{compiled.configuration}, {compiled.clock_hz / 1e6:g} MHz, batch 1; estimates of the "
        f"compiler, not of hardware; {flash}"
    )


def _warnings(layers: Sequence[LayerCost]) -> tuple[str, ...]:
    names = [f"{layer.op} '{layer.name}'" for layer in layers if layer.where == "CPU"]
    if not names:
        return ()
    return (f"Not in the cycles, since they stay on the CPU: {', '.join(names)}.",)


def _check_placement(layers: Sequence[LayerCost]) -> Check:
    on_cpu = [layer for layer in layers if layer.where == "CPU"]
    named = "; ".join(f"{layer.op} '{layer.name}' ({layer.note})" for layer in on_cpu)
    message = f"on the CPU: {named}" if on_cpu else "the NPU computes every operator"
    if layers and len(on_cpu) == len(layers):
        message = f"the NPU computes nothing; {message}. Export the model for this device"
        return Check("operators on the NPU", False, 0, "at least 1", message, kind="placement")
    on_npu = len(layers) - len(on_cpu)
    return Check("operators on the NPU", True, on_npu, None, message, kind="placement")


def _check_memory(compiled: Compiled, profile: DeviceProfile) -> Iterator[Check]:
    limits = profile.limits
    sram = compiled.memory_bytes("sram")
    on_chip = limits.on_chip_bytes if limits.on_chip_bytes.value else limits.arena_bytes
    yield check_limit("SRAM (vela)", sram, on_chip, f"as {compiled.configuration.memory_mode}")
    flash = "the constants" if compiled.memory_bytes("off_chip_flash") else "the compiled file"
    yield check_limit("flash (vela)", flash_bytes(compiled), limits.flash_bytes, flash)

"""What firmware needs of a file beyond its inputs and outputs: arena, operators, compiler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgeprune.core.errors import CheckError
from edgeprune.profiles.facts import VelaSettings
from edgeprune.targets.tflm.packing import measured_arena
from edgeprune.targets.vela.compiler import Configuration, compile_for_npu, configuration
from edgeprune.targets.vela.target import VELA_PACKAGE
from edgeprune.tflite.compiled import ETHOS_U
from edgeprune.tflite.firmware_arena import ROOM, FirmwareArena, planned_arena
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.op_resolver import methods_of, resource_variables


@dataclass(frozen=True)
class Firmware:
    """The arena and the operators of the file that is linked into firmware."""

    arena: FirmwareArena
    methods: tuple[str, ...]
    """Methods of TensorFlow Lite Micro's resolver, in the order of first use."""
    unknown: tuple[str, ...]
    """Operators that it does not have."""
    variables: int
    """How many variables the file keeps between inferences."""
    hardware: Configuration | None
    """What Arm's compiler has to be told; None where the file goes into firmware as it is."""


def firmware_of(graph: Graph, npu: VelaSettings | None) -> Firmware:
    """What firmware needs of a file.

    Args:
      graph: the file.
      npu: what the compiler has to know; None for devices without an NPU.
    """
    is_compiled = any(operator.op == ETHOS_U for operator in graph.operators)
    if npu is None or is_compiled:
        return Firmware(_arena(graph), *methods_of(graph), resource_variables(graph), None)
    hardware = configuration(npu)
    if not VELA_PACKAGE.readiness().ready:
        said = "not known before Vela has compiled the file: make room, and see what is used"
        return Firmware(FirmwareArena(ROOM, said), ("AddEthosU",), (), 0, hardware)
    compiled = _compiled(graph.path, hardware)
    variables = resource_variables(compiled)
    return Firmware(planned_arena(compiled), *methods_of(compiled), variables, hardware)


def _compiled(path: Path, hardware: Configuration) -> Graph:
    with TemporaryDirectory(prefix="edgeprune-") as folder:
        made = Path(folder, "model.tflite")
        made.write_bytes(compile_for_npu(path, hardware).model)
        return tflite_file.read(made)


def _arena(graph: Graph) -> FirmwareArena:
    try:
        found = measured_arena(graph.path)
    except CheckError:
        found = None
    return found or planned_arena(graph)

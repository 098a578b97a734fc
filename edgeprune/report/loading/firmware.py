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
from edgeprune.tflite.decode.choose import arena_of
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.op_resolver import methods_of

COMPILED = "ethos-u"
"""The custom operator that Arm's compiler leaves in a file for the NPU."""
_ALIGNED = 16
_ROOM = 16 * 1024
"""Bytes for what TensorFlow Lite Micro keeps beside planned buffers, where nothing measured it."""


@dataclass(frozen=True)
class Firmware:
    """The arena and the operators of the file that is linked into firmware."""

    arena: int
    """Bytes."""
    arena_by: str
    """What says so."""
    methods: tuple[str, ...]
    """Of TensorFlow Lite Micro's resolver, in the order of first use."""
    unknown: tuple[str, ...]
    """Custom operators that it does not know."""
    hardware: Configuration | None
    """What Arm's compiler has to be told; None where the file goes into firmware as it is."""


def firmware_of(graph: Graph, npu: VelaSettings | None) -> Firmware:
    """What firmware needs of a file.

    Args:
      graph: the file.
      npu: what the compiler has to know; None for devices without an NPU.
    """
    is_compiled = any(operator.op == COMPILED for operator in graph.operators)
    if npu is None or is_compiled:
        arena, said = _arena(graph)
        return Firmware(arena, said, *methods_of(graph), None)
    hardware = configuration(npu)
    if not VELA_PACKAGE.readiness().ready:
        said = "not known before Vela has compiled the file: make room, and see what is used"
        return Firmware(_ROOM, said, ("AddEthosU",), (), hardware)
    compiled = _compiled(graph.path, hardware)
    arena, said = _planned(compiled)
    return Firmware(arena, said, *methods_of(compiled), hardware)


def _compiled(path: Path, hardware: Configuration) -> Graph:
    with TemporaryDirectory(prefix="edgeprune-") as folder:
        made = Path(folder, "model.tflite")
        made.write_bytes(compile_for_npu(path, hardware).model)
        return tflite_file.read(made)


def _arena(graph: Graph) -> tuple[int, str]:
    try:
        found = measured_arena(graph.path)
    except CheckError:
        found = None
    if found is None:
        return _planned(graph)
    said = f"measured by {found.runtime} on a computer; 32-bit pointers take a little less"
    return _rounded(found.size), said


def _planned(graph: Graph) -> tuple[int, str]:
    buffers = arena_of(graph.subgraphs[0]).bytes_with(())
    said = (
        f"not measured: {buffers} bytes of planned buffers and {_ROOM} for the interpreter's own; "
        "arena_used_bytes() says what is used"
    )
    return _rounded(buffers + _ROOM), said


def _rounded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED

"""Files that end in a custom operator which no runtime has: what of them can be run.

    x --> CONV_2D --> PosenetDecoderOp --> y, z      a file
    x --> CONV_2D --> a                              what runtimes run of it

Such an operator belongs to a library of its own, which a device's program links: the decoder of
poses in Coral's examples, an upsampling of MediaPipe's. What reads its results is not run either.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.tflite.compiled import made_by
from edgeprune.tflite.format.decode_operator import unpacks
from edgeprune.tflite.format.draft import Draft, drop_unused_codes, load, reread, write
from edgeprune.tflite.format.draft_indices import drop_unread_tensors, drop_unused_buffers
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph

RUN_CUSTOM = frozenset(
    {"AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess"}
)
"""Custom operators that every runtime has (`tensorflow/lite/core/kernels/register.cc`)."""
_LIBRARIES = ("Flex", "Signal")
"""How the names of others begin that some runtime has: TensorFlow's own operators, and those that
TensorFlow Lite Micro brings for audio (`signal/micro/kernels`)."""
_MAIN = 0


@dataclass(frozen=True)
class Remainder:
    """The operators of a file's main subgraph that runtimes do not run, and what comes before."""

    before: tuple[int, ...]
    """The operators that come before it, by their indices in the file."""
    outputs: tuple[int, ...]
    """What those give: outputs of the file, and tensors that the remainder reads."""
    operators: tuple[Operator, ...]
    """Those that no runtime has, what reads their results, and constants for them alone."""
    unknown: tuple[Operator, ...]
    """Those that no runtime has."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of operators that no runtime has, each once."""
        return tuple(dict.fromkeys(operator.op for operator in self.unknown))


def find_remainder(graph: Graph) -> Remainder | None:
    """The remainder of a file; None where runtimes have all operators, or nothing comes before."""
    unknown = [each for each in graph.operators if _is_unknown(each)]
    if not unknown or made_by(graph) is not None:
        return None
    main = graph.subgraphs[_MAIN]
    behind = _depending(main, [index for each in unknown for index in each.outputs])
    behind |= {each.index for each in unknown}
    behind = _with_constants(main, behind)
    rest = [operator for operator in main.operators if operator.index in behind]
    made_behind = {index for operator in rest for index in operator.outputs}
    read = [index for operator in rest for index in operator.inputs]
    outputs = tuple(
        dict.fromkeys(
            index
            for index in (*main.outputs, *read)
            if index in main.makers and index not in made_behind
        )
    )
    if not outputs:
        return None
    kept = tuple(each.index for each in main.operators if each.index not in behind)
    return Remainder(kept, outputs, tuple(rest), tuple(unknown))


def _is_unknown(operator: Operator) -> bool:
    known = operator.op in RUN_CUSTOM or operator.op.startswith(_LIBRARIES) or unpacks(operator)
    return operator.custom and not known


def _depending(main: Subgraph, tensors: Iterable[int]) -> set[int]:
    """The operators that read tensors, those that read what these make, and so on."""
    found: set[int] = set()
    waiting = list(tensors)
    while waiting:
        for reader, _ in main.readers.get(waiting.pop(), ()):
            if reader.index not in found:
                found.add(reader.index)
                waiting += [index for index in reader.outputs if index >= 0]
    return found


def _with_constants(main: Subgraph, behind: set[int]) -> set[int]:
    """Operators behind, with those that restore constants for them alone."""
    found, live = set(behind), {*main.inputs}
    for index in _depending(main, main.inputs):
        live.update(main.operators[index].outputs)
    for operator in reversed(main.operators):
        readers = {
            reader.index for index in operator.outputs for reader, _ in main.readers.get(index, ())
        }
        constant = not live.intersection(operator.inputs) and not main.ends & {*operator.outputs}
        if readers and readers <= found and constant:
            found.add(operator.index)
    return found


def write_without_remainder(path: Path, remainder: Remainder, output: Path) -> None:
    """Writes what comes before a remainder: names, signatures and metadata are those of the file.

    Raises:
      TfliteError, OutputError: as `draft.load` and `draft.write`.
    """
    draft = load(path)
    model = draft.model
    main = model.subgraphs[_MAIN]
    main.operators = [main.operators[index] for index in remainder.before]
    main.outputs = np.array(remainder.outputs, np.int32)
    for signature in model.signatureDefs:
        if signature.subgraphIndex == _MAIN:
            signature.outputs = _named(draft.graph, signature.outputs, remainder.outputs)
    drop_unread_tensors(model, _MAIN)
    drop_unused_buffers(model)
    drop_unused_codes(model)
    write(draft, output)


def _named(graph: Graph, entries: Sequence[Any], outputs: Sequence[int]) -> list[Any]:
    """A signature's outputs: by their names there, or as tensors are called."""
    known = {entry.tensorIndex: entry for entry in entries}
    return [
        known.get(index) or schema.TensorMapT(graph.tensors[index].name.encode(), index)
        for index in outputs
    ]


@contextmanager
def without_remainder(graph: Graph) -> Iterator[Graph]:
    """Gives a file without its remainder while a block runs; itself where it has none.

    Raises:
      TfliteError, OutputError: as `write_without_remainder`.
    """
    found = find_remainder(graph)
    if found is None:
        yield graph
        return
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = Path(folder, graph.path.name)
        write_without_remainder(graph.path, found, path)
        yield read(path)


def with_remainder(runnable: Draft, whole: Draft) -> Draft:
    """A file that `write_without_remainder` wrote, changed since, with the remainder again.

    Args:
      runnable: the file, edited in place; its inputs and outputs are the ones of then, in order.
      whole: the file that the remainder is of; its signatures are taken.
    """
    found = find_remainder(whole.graph)
    if found is None:
        return runnable
    moving = _Moving(whole.model, runnable.model)
    moving.places |= _pairs(moving.given.inputs, moving.main.inputs)
    moving.places |= _pairs(found.outputs, moving.main.outputs)
    for each in found.operators:
        moving.move(moving.given.operators[each.index])
    moving.main.outputs = moving.tensors(moving.given.outputs)
    for signature in whole.model.signatureDefs:
        for entry in (*signature.inputs, *signature.outputs):
            if signature.subgraphIndex == _MAIN:
                entry.tensorIndex = moving.tensor(entry.tensorIndex)
    runnable.model.signatureDefs = whole.model.signatureDefs
    return replace(reread(runnable), appended=whole.appended)


def _pairs(before: Iterable[int], after: Iterable[int]) -> dict[int, int]:
    return {int(old): int(new) for old, new in zip(before, after, strict=True)}


class _Moving:
    """Operators of one model on their way into another, which has tensors that they read.

    Args:
      source: a `ModelT`; what is moved is taken from it.
      target: the other one, edited in place.
    """

    def __init__(self, source: Any, target: Any) -> None:
        self._source, self._target = source, target
        self.given, self.main = source.subgraphs[_MAIN], target.subgraphs[_MAIN]
        self.places: dict[int, int] = {}
        """By the index of a tensor in the source: that in the target."""

    def move(self, operator: Any) -> None:
        """Puts an operator behind those of the target."""
        codes = self._target.operatorCodes
        codes.append(self._source.operatorCodes[operator.opcodeIndex])
        operator.opcodeIndex = len(codes) - 1
        for name in ("inputs", "outputs", "intermediates"):
            if getattr(operator, name) is not None:
                setattr(operator, name, self.tensors(getattr(operator, name)))
        self.main.operators.append(operator)

    def tensors(self, indices: Iterable[int]) -> Array:
        """Indices in the target."""
        return np.array([self.tensor(int(index)) for index in indices], np.int32)

    def tensor(self, index: int) -> int:
        """The index of a tensor in the target, which gets it where it lacks it; -1 stays."""
        if index >= 0 and index not in self.places:
            tensor = self.given.tensors[index]
            self._target.buffers.append(self._source.buffers[tensor.buffer])
            tensor.buffer = len(self._target.buffers) - 1
            self.main.tensors.append(tensor)
            self.places[index] = len(self.main.tensors) - 1
        return self.places.get(index, -1)

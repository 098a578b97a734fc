"""Runs a .tflite file operator by operator, every operator once over all samples.

Each operator is cut out as a file of its own, so that a change to one layer costs one operator's
time and not the whole network's. What an operator leaves is kept as long as somebody reads it.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.targets.worker import MODULES, dequantize, quantize
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor

_CALLING = frozenset(("WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_WHILE"))
"""Operators that run other subgraphs."""


def cut_out(draft: Draft, operator: Operator) -> bytes:
    """One operator of the main subgraph as a file: its inputs and outputs are those of the file."""
    model, main = draft.model, draft.model.subgraphs[0]
    whole = draft.graph.subgraphs[0]
    used = sorted({index for index in (*operator.inputs, *operator.outputs) if index >= 0})
    place = {index: number for number, index in enumerate(used)}
    given = [place[index] for index in fed(whole, operator)]
    only = copy.copy(main.operators[operator.index])
    only.inputs = np.array([place.get(index, -1) for index in operator.inputs], np.int32)
    only.outputs = np.array([place.get(index, -1) for index in operator.outputs], np.int32)
    tensors = [main.tensors[index] for index in used]
    called = model.subgraphs[1:] if operator.op in _CALLING else []
    kept = {t.buffer for t in tensors} | {t.buffer for graph in called for t in graph.tensors}
    part = copy.copy(model)
    part.subgraphs = [
        schema.SubGraphT(
            tensors=tensors,
            inputs=np.array(given, np.int32),
            outputs=only.outputs,
            operators=[only],
            name=b"main",
        ),
        *called,
    ]
    part.buffers = [
        buffer if index in kept else schema.BufferT() for index, buffer in enumerate(model.buffers)
    ]
    part.metadata, part.metadataBuffer, part.signatureDefs = [], None, []
    return bytes(tflite_draft.pack(part))


def fed(main: Subgraph, operator: Operator) -> tuple[int, ...]:
    """The inputs of an operator that are computed, each once."""
    found = (index for index in operator.inputs if index >= 0)
    return tuple(dict.fromkeys(index for index in found if not main.tensors[index].constant))


def run_part(
    content: bytes, inputs: Sequence[Array], count: int, *, runtime: str, delegates: bool
) -> list[Array]:
    """Runs a file on `count` stored values `[n, *shape]`, one by one; its outputs likewise.

    Raises:
      ValueError, RuntimeError: the runtime refuses it.
    """
    module = import_module(MODULES[runtime][0])
    resolvers = module.OpResolverType
    kind = resolvers.AUTO if delegates else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = module.Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=kind
    )
    details = interpreter.get_input_details()
    for detail, array in zip(details, inputs, strict=True):
        if tuple(detail["shape"]) != array.shape[1:]:
            interpreter.resize_tensor_input(detail["index"], array.shape[1:])
    interpreter.allocate_tensors()
    places = [detail["index"] for detail in interpreter.get_output_details()]
    found: list[list[Array]] = [[] for _ in places]
    for row in range(count):
        for detail, array in zip(details, inputs, strict=True):
            interpreter.set_tensor(detail["index"], array[row])
        interpreter.invoke()
        for values, index in zip(found, places, strict=True):
            values.append(interpreter.get_tensor(index))
    return [np.stack(values) for values in found]


class Stream:
    """What the operators of a file leave, computed in their order over all samples.

    Values are `[n, *shape]` as they are stored in the file; those that no operator reads any more
    are dropped, except outputs of the file.
    """

    def __init__(
        self, draft: Draft, inputs: Mapping[int, Array], *, runtime: str, delegates: bool
    ) -> None:
        self.draft = draft
        self.main = draft.graph.subgraphs[0]
        self.values = dict(inputs)
        self.count = min(map(len, inputs.values()))
        self._settings: dict[str, Any] = {"runtime": runtime, "delegates": delegates}
        self._waiting = Counter(i for o in self.main.operators for i in fed(self.main, o))
        self._waiting.update(self.main.outputs)

    def run(self, operator: Operator, rows: int | None = None) -> list[Array]:
        """What an operator gives, with the constants that the draft has now; nothing is kept.

        `rows` are the first samples to run; all where it is None.
        """
        count = self.count if rows is None else rows
        given = [self.values[index][:count] for index in fed(self.main, operator)]
        return run_part(cut_out(self.draft, operator), given, count, **self._settings)

    def step(self, operator: Operator) -> None:
        """Runs an operator and keeps what it gives; drops what was read for the last time."""
        self.values.update(zip(operator.outputs, self.run(operator), strict=True))
        self._waiting.subtract(fed(self.main, operator))
        for index in (*fed(self.main, operator), *operator.outputs):
            if self._waiting[index] <= 0:
                self.values.pop(index, None)

    def real(self, tensor: int, rows: int | None = None) -> Array:
        """Values of the first samples in real numbers, `[n, *shape]`."""
        return real(self.main.tensors[tensor], self.values[tensor][:rows])


def stored(tensor: Tensor, values: Array) -> Array:
    """Samples `[n, ...]` of an input as a stream takes them: quantized, with a batch of one."""
    whole = values.ndim > len(tensor.shape)
    found: Array = quantize(values, _detail(tensor))
    return found if whole else found[:, None]


def real(tensor: Tensor, values: Array) -> Array:
    """Stored values of a tensor with one scale in real numbers."""
    found: Array = dequantize(values, _detail(tensor))
    return found


def _detail(tensor: Tensor) -> dict[str, Any]:
    """What an interpreter says of a tensor."""
    one = tensor.scales.size == 1
    quantization = (float(tensor.scales[0]), int(tensor.zero_points[0])) if one else (0.0, 0)
    return {"dtype": np.dtype(tensor.dtype), "quantization": quantization}

"""Changes the main subgraph of a draft: new constants and values, operators added and replaced."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.tflite.format.draft import Draft, code_index, raw_bytes, reread
from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor


class Edit:
    """One round of changes; `main` is the subgraph as it was before, and stays so.

    Tensors keep their indices and names, new ones come behind them, so inputs, outputs and
    signatures are never touched. Operators are named by their index in `main`.
    """

    def __init__(self, draft: Draft) -> None:
        self.main: Subgraph = draft.graph.subgraphs[0]
        self._draft = draft
        self._subgraph: Any = draft.model.subgraphs[0]
        self._instead: dict[int, list[Any]] = {}
        self._before: dict[int, list[Any]] = {}

    def constant(self, name: str, values: Array) -> int:
        """Adds a constant; returns its tensor index."""
        model = self._draft.model
        model.buffers.append(schema.BufferT(data=raw_bytes(values)))
        return self._add(name, values.shape, values.dtype.name, len(model.buffers) - 1)

    def view(self, source: Tensor, name: str, shape: Sequence[int]) -> int:
        """Adds a constant that has another one's bytes in another shape."""
        return self._add(name, shape, source.dtype, source.buffer)

    def value(self, name: str, shape: Sequence[int], signature: Sequence[int]) -> int:
        """Adds a float32 value that is computed at run time.

        `signature` has -1 for axes whose length is set at run time, as in the file's own tensors.
        """
        index = self._add(name, shape, "float32", 0)
        if -1 in signature:
            self._subgraph.tensors[index].shapeSignature = np.array(signature, np.int32)
        return index

    def like(self, source: Tensor, name: str, shape: Sequence[int]) -> int:
        """Adds a value of another one's type and quantization, that is computed at run time."""
        index = self._add(name, shape, source.dtype, 0)
        added, model = self._subgraph.tensors[index], self._subgraph.tensors[source.index]
        added.quantization = copy.copy(model.quantization)
        if -1 in source.shape_signature:
            signature = [
                -1 if s < 0 else n for s, n in zip(source.shape_signature, shape, strict=True)
            ]
            added.shapeSignature = np.array(signature, np.int32)
        return index

    def operator(
        self, op: str, inputs: Sequence[int], outputs: Sequence[int], options: Any, version: int = 1
    ) -> Any:
        """Makes an operator, for `before` or `replace`; `options` is None where it has none."""
        code = code_index(self._draft.model, getattr(schema.BuiltinOperator, op), version)
        kind = "NONE" if options is None else type(options).__name__.removesuffix("T")
        return schema.OperatorT(
            opcodeIndex=code,
            inputs=np.array(inputs, np.int32),
            outputs=np.array(outputs, np.int32),
            builtinOptionsType=getattr(schema.BuiltinOptions, kind),
            builtinOptions=options,
        )

    def of(self, operator: Operator) -> Any:
        """Returns the schema's object of an operator, whose inputs and options may be set."""
        return self._subgraph.operators[operator.index]

    def read(self, operator: Operator, position: int, tensor: int) -> None:
        """Lets an operator read another tensor at one of its inputs."""
        changed = self.of(operator)
        changed.inputs = np.array(changed.inputs, np.int32)
        changed.inputs[position] = tensor

    def before(self, operator: Operator, added: Sequence[Any]) -> None:
        """Puts operators in front of another one."""
        self._before.setdefault(operator.index, []).extend(added)

    def replace(self, operator: Operator, added: Sequence[Any]) -> None:
        """Puts operators in the place of another one."""
        self._instead[operator.index] = list(added)

    def reshape(self, tensor: int, shape: Sequence[int]) -> None:
        """Gives a value that is computed at run time another shape; a dynamic batch stays so."""
        changed = self._subgraph.tensors[tensor]
        changed.shape = np.array(shape, np.int32)
        if changed.shapeSignature is not None:
            first = int(changed.shapeSignature[0])
            changed.shapeSignature = np.array([first, *shape[1:]], np.int32)

    def overwrite(self, tensor: Tensor, values: Array) -> None:
        """Gives a constant, and what it is restored to, other values; the shape may change too."""
        self._draft.model.buffers[tensor.buffer].data = raw_bytes(values)
        self._subgraph.tensors[tensor.index].shape = np.array(values.shape, np.int32)
        for operator, _ in self.main.readers.get(tensor.index, ()):
            if operator.op == "DEQUANTIZE":
                restored = self._subgraph.tensors[operator.outputs[0]]
                restored.shape = np.array(values.shape, np.int32)

    def own(self, operator: Operator, position: int) -> Tensor | None:
        """Returns a dense constant that only this operator reads, so that it may be changed."""
        index = operator.inputs[position] if len(operator.inputs) > position else -1
        found, passed = self.main.constant_behind(index) if index >= 0 else (None, ())
        if found is None or "DENSIFY" in passed or found.sparse:
            return None
        chain = {index, found.index}
        readers = [reader for i in chain for reader in self.main.readers.get(i, ())]
        shared = self._draft.graph.buffer_owners[found.buffer] > 1 or chain & self.main.ends
        return None if shared or len(readers) != len(chain) else found

    def finish(self) -> Draft:
        """Puts the operators in order and returns the changed file as a new draft."""
        self._subgraph.operators = list(self._ordered())
        return reread(self._draft)

    def _ordered(self) -> Iterator[Any]:
        for index, operator in enumerate(self._subgraph.operators):
            yield from self._before.get(index, ())
            yield from self._instead.get(index, (operator,))

    def _add(self, name: str, shape: Sequence[int], dtype: str, buffer: int) -> int:
        tensors = self._subgraph.tensors
        tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=getattr(schema.TensorType, dtype.upper()),
                buffer=buffer,
                name=name.encode(),
                hasRank=True,
            )
        )
        return len(tensors) - 1

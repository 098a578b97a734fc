"""Packs weights of a .tflite file behind DECODE operators.

Before:  w (int8, constant) ──▶ CONV_2D
After:   mask, ancillary (uint8, constants) ──▶ DECODE ──▶ w ──▶ CONV_2D

Each reader has a DECODE of its own right before it, since one that unpacks takes the memory of what
another unpacked before, and the weight keeps its place among the tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.decode.weights import WEIGHT_INPUT, Weight
from edgeprune.tflite.format.draft import Draft, empty_buffer
from edgeprune.tflite.format.graph import Tensor
from edgeprune.tflite.format.packed_tensor import DECODE, PackedValues, pack_values

_CUSTOM = schema.BuiltinOperator.CUSTOM


def pack_weights(draft: Draft, weights: Sequence[Weight]) -> None:
    """Packs weights of the main subgraph, as `weights_to_pack` found them; edits `draft.model`."""
    if not weights:
        return
    main = draft.model.subgraphs[0]
    code = _decode_code(draft.model)
    before: dict[int, Any] = {}
    for weight in weights:
        pair = _add_constants(draft, weight.tensors[0])
        for tensor in weight.tensors:
            _empty(draft.model, main.tensors[tensor.index])
        for number, reader in enumerate(weight.readers):
            taken = draft.graph.operators[reader.index].inputs[WEIGHT_INPUT]
            first = taken not in {r.inputs[WEIGHT_INPUT] for r in weight.readers[:number]}
            output = taken if first else _copy_for(main, taken, reader.index)
            before[reader.index] = _operator(code, pair, output)
    operators = [[before.get(i), operator] for i, operator in enumerate(main.operators)]
    main.operators = [each for group in operators for each in group if each is not None]


def packed_of(tensor: Tensor) -> PackedValues:
    """What takes the place of a constant's values."""
    values = np.asarray(tensor.values())
    return pack_values(values, tensor.zero_points, tensor.quantized_dimension)


def _decode_code(model: Any) -> int:
    """The index of the operator code of DECODE, which is added where the model has none."""
    name = DECODE.encode()
    for index, code in enumerate(model.operatorCodes):
        if code.customCode == name:
            return index
    model.operatorCodes.append(schema.OperatorCodeT(_CUSTOM, name, 1, _CUSTOM))
    return len(model.operatorCodes) - 1


def _add_constants(draft: Draft, tensor: Tensor) -> tuple[int, int]:
    """Adds the mask, which takes over the weight's buffer, and what lies behind it."""
    packed = packed_of(tensor)
    model = draft.model
    model.buffers[tensor.buffer].data = packed.mask
    model.buffers.append(schema.BufferT(data=packed.ancillary))
    main = model.subgraphs[0]
    for data, buffer in ((packed.mask, tensor.buffer), (packed.ancillary, len(model.buffers) - 1)):
        shape = np.array([data.size], np.int32)
        main.tensors.append(
            schema.TensorT(shape=shape, type=schema.TensorType.UINT8, buffer=buffer)
        )
    return len(main.tensors) - 2, len(main.tensors) - 1


def _empty(model: Any, tensor: Any) -> None:
    """Takes a weight's values away; a single scale goes to the axis that the kernel takes."""
    tensor.buffer = empty_buffer(model)
    if len(tensor.quantization.scale) == 1:
        tensor.quantization.quantizedDimension = 0


def _copy_for(main: Any, tensor: int, reader: int) -> int:
    """Adds a tensor like the weight for a further operator that reads it."""
    main.tensors.append(copy.copy(main.tensors[tensor]))
    main.tensors[-1].name = None
    operator = main.operators[reader]
    operator.inputs = np.array(operator.inputs, np.int32)
    operator.inputs[WEIGHT_INPUT] = len(main.tensors) - 1
    return len(main.tensors) - 1


def _operator(code: int, pair: tuple[int, int], output: int) -> Any:
    return schema.OperatorT(
        opcodeIndex=code, inputs=np.array(pair, np.int32), outputs=np.array([output], np.int32)
    )

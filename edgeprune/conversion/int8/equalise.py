"""Makes the channels of activations alike in size, so that one int8 scale fits all of them.

A channel with small values has few of the 256 steps that the largest channel needs. What makes the
channel is multiplied and what reads it divided, which changes nothing in float:

    before   x --> CONV w, b, relu   --> y  --> CONV v      --> z
    after    x --> CONV rw, rb, relu --> ry --> CONV v / r  --> z     r > 0, one per channel of y

A cap, as of ReLU6, is reached by `ry` earlier than by `y`: r is chosen so that no value of the
calibration samples comes near it. Source: Nagel et al., Data-Free Quantization Through Weight
Equalization and Bias Correction, 2019, arXiv:1906.04721, section 4.1, with the sizes of activations
in place of those of weights, since weights have a scale per channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edgeprune.conversion.int8.layers import ROUNDED, limits_of
from edgeprune.conversion.int8.ranges import Range, Ranges
from edgeprune.core.arrays import Array
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.graph import Operator, Subgraph, Tensor
from edgeprune.tflite.rewrites.edit import Edit

_PASSING = frozenset(("PAD", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D"))
"""Operators that give of a multiplied channel the multiple of what they give of the channel."""
_LARGEST = 4.0
"""Channels are multiplied by at most this."""
_BELOW_CAP = 0.9
"""Share of a cap that values of calibration samples may reach."""
_PULL = {"DEPTHWISE_CONV_2D": 1.0, "CONV_2D": 0.5, "FULLY_CONNECTED": 0.5}
"""How far channels are brought to the size of the largest, by the operator that reads them: a
depthwise one has a scale per channel; others then need more steps for the smaller weights."""


@dataclass(frozen=True, eq=False)
class Passage:
    """A tensor that one layer makes and one layer reads, perhaps through others."""

    maker: Operator
    reader: Operator
    cap: float
    """The largest value behind the maker's activation."""
    path: tuple[int, ...]
    """The tensors in between, as the maker gives it first."""


def passages(draft: Draft) -> tuple[Passage, ...]:
    """The tensors of a float file whose channels can be multiplied."""
    edit = Edit(draft)
    found = (_passage(edit.main, operator) for operator in edit.main.operators)
    return tuple(each for each in found if each is not None and _may_change(edit, each))


def _passage(main: Subgraph, maker: Operator) -> Passage | None:
    limits = limits_of(maker)
    if maker.op not in ROUNDED or limits is None or limits[0] not in (0.0, -math.inf):
        return None
    path = list(_path(main, maker.outputs[0]))
    readers = main.readers.get(path[-1], ())
    if path[-1] in main.ends or len(readers) != 1:
        return None
    reader, place = readers[0]
    channels = {main.tensors[index].shape[-1:] for index in path}
    if reader.op not in ROUNDED or place or len(channels) != 1:
        return None
    if main.tensors[reader.inputs[1]].shape[-1] != main.tensors[path[0]].shape[-1]:
        return None
    return Passage(maker, reader, limits[1], tuple(path))


def _path(main: Subgraph, tensor: int) -> Iterator[int]:
    """A tensor and what operators pass on of it, as long as nobody else reads it."""
    yield tensor
    readers = main.readers.get(tensor, ())
    if len(readers) != 1 or tensor in main.ends:
        return
    reader, place = readers[0]
    if reader.op in _PASSING and place == 0 and limits_of(reader) == (-math.inf, math.inf):
        yield from _path(main, reader.outputs[0])


def _may_change(edit: Edit, passage: Passage) -> bool:
    """Whether nobody else reads the weights and the bias, unless the bias is 0."""
    maker, reader = passage.maker, passage.reader
    own = [edit.own(maker, 1), edit.own(reader, 1)]
    bias = _bias(edit.main, maker)
    values = None if bias is None else bias.values()
    zero = values is None or not np.any(values)
    return None not in own and (zero or edit.own(maker, 2) is not None)


def _bias(main: Subgraph, operator: Operator) -> Tensor | None:
    index = operator.inputs[2] if len(operator.inputs) > 2 else -1
    return main.tensors[index] if index >= 0 else None


def factors(passage: Passage, ends: Array) -> Array:
    """`[channels]`: by what every channel is multiplied, 1 or more.

    Args:
      passage: where.
      ends: `[2, channels]`, the least and the largest values of the maker's output.
    """
    sizes = np.maximum(np.abs(ends).max(axis=0), 1e-6)
    wanted = (sizes.max() / sizes) ** _PULL[passage.reader.op]
    most = np.maximum(np.minimum(_LARGEST, _BELOW_CAP * passage.cap / sizes), 1.0)
    found: Array = np.minimum(wanted, most).astype(np.float32).astype(np.float64)
    return found


def equalised(draft: Draft, ends: Mapping[int, Array]) -> Draft:
    """A float file with channels alike in size.

    Args:
      draft: the file; not used any more afterwards.
      ends: `[2, channels]` by tensor, of every tensor on the path of every passage.
    """
    edit, tensors = Edit(draft), draft.graph.tensors
    changed: dict[int, Array] = {}

    def scale(index: int, by: Array) -> None:
        values = changed.get(index, tensors[index].values())
        if values is not None:
            changed[index] = values * by

    for passage in passages(draft):
        by = factors(passage, ends[passage.path[0]])
        depthwise = passage.maker.op == "DEPTHWISE_CONV_2D"
        rank = len(tensors[passage.maker.inputs[1]].shape)
        rows = by if depthwise else by.reshape(-1, *[1] * (rank - 1))
        scale(passage.maker.inputs[1], rows)
        bias = _bias(edit.main, passage.maker)
        if bias is not None and edit.own(passage.maker, 2) is not None:
            scale(bias.index, by)
        scale(passage.reader.inputs[1], 1 / by)
    for index, values in changed.items():
        edit.overwrite(tensors[index], values.astype(np.float32))
    return edit.finish()


def equalised_ranges(draft: Draft, ranges: Ranges, ends: Mapping[int, Array]) -> Ranges:
    """The ranges of the file that `equalised` makes of `draft`."""
    found = dict(ranges)
    for passage in passages(draft):
        by = factors(passage, ends[passage.path[0]])
        for index in passage.path:
            low, high = ends[index] * by
            found[draft.graph.tensors[index].name] = Range(float(low.min()), float(high.max()))
    return found

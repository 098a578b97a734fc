"""What a program has to know of a .tflite file: its inputs and outputs, labels and demands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgeprune.core.data import InputSpec
from edgeprune.core.errors import TfliteError
from edgeprune.core.scaling import RAW, ChannelScale, ScaleBy, in_words
from edgeprune.inspection.validate_file import inputs_of_file
from edgeprune.report.loading.pixels import COLOURS, QUANTIZED, Pixels, pixels_of
from edgeprune.tflite.class_names import read_class_names
from edgeprune.tflite.format.decode_operator import holds_packed
from edgeprune.tflite.format.graph import Graph, Tensor
from edgeprune.tflite.format.signature import input_ports, output_ports
from edgeprune.tflite.metadata import asks_for_halves, read_manifest

NUMBERS = ("float32", "int8", "uint8", "int16", "int32", "int64")
"""Types of inputs and outputs that every language has."""


@dataclass(frozen=True)
class TensorFacts:
    """An input or output, at its place in the file."""

    place: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: np.float32 | None = None
    """Scale of a quantized tensor: a value is `(number - zero_point) * scale`."""
    zero_point: int = 0
    pixels: Pixels | None = None
    """What becomes of the pixels of a picture; None where it takes none."""

    @property
    def image(self) -> bool:
        """Whether it takes one picture, `[1, height, width, 1 or 3]`."""
        return self.pixels is not None

    @property
    def by(self) -> ScaleBy:
        """What becomes of pixels from 0 to 255 before they are quantized."""
        return self.pixels.by if self.pixels else RAW

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes that they take."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def channels(self) -> int:
        """Length of the last axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def direct(self) -> bool:
        """Whether pixels are its numbers."""
        return self.pixels is not None and self.pixels.direct

    @property
    def quantized(self) -> bool:
        """Whether a value has to become a number of its scale."""
        return self.scale is not None and not self.direct

    @property
    def scaled(self) -> bool:
        """Whether pixels do not stay as they are."""
        return self.image and self.by != RAW and not self.direct

    @property
    def means(self) -> tuple[float, ...]:
        """One mean for each channel, in the order in which the file takes them."""
        return self.by.mean if isinstance(self.by, ChannelScale) else (self.by[0],) * self.channels

    @property
    def stds(self) -> tuple[float, ...]:
        """One standard deviation for each channel."""
        return self.by.std if isinstance(self.by, ChannelScale) else (self.by[1],) * self.channels

    @property
    def even(self) -> bool:
        """Whether all channels are scaled alike."""
        return len({*self.means}) == len({*self.stds}) == 1

    @property
    def bgr(self) -> bool:
        """Whether it takes blue first."""
        return isinstance(self.by, ChannelScale) and self.by.bgr

    @property
    def least(self) -> int:
        """The least number of its type."""
        return int(np.iinfo(self.dtype).min)

    @property
    def most(self) -> int:
        """The greatest number of its type."""
        return int(np.iinfo(self.dtype).max)

    @property
    def step(self) -> str:
        """The scale in as many digits as tell it from other floats of 32 bits."""
        return str(self.scale)

    @property
    def plus(self) -> str:
        """What is added to a rounded value: `+ 3`, or `- 4`."""
        return f"- {-self.zero_point}" if self.zero_point < 0 else f"+ {self.zero_point}"

    @property
    def minus(self) -> str:
        """What is added to a number before it is scaled."""
        return f"+ {-self.zero_point}" if self.zero_point < 0 else f"- {self.zero_point}"

    @property
    def filled(self) -> str:
        """How its numbers are made of what a program has; empty where nothing is done."""
        parts = []
        if self.image:
            pixels = "RGB" if self.channels == COLOURS else "Grey"
            parts.append(f"{pixels} pixels from 0 to 255 {self._pixels}")
        if self.quantized:
            stored = f"round(x / {self.step}) {self.plus}, from {self.least} to {self.most}"
            parts.append(f"{'which' if self.image else 'A value x'} is stored as {stored}")
        return f"{', '.join(parts)}." if parts else ""

    @property
    def _pixels(self) -> str:
        if self.pixels is None or self.pixels.direct:
            return "are its numbers"
        why = self.pixels.assumed
        return f"{in_words(self.by)}{f' (assumed: {why})' if why else ''}"

    @property
    def read(self) -> str:
        """What its numbers mean; empty where they are values as they are."""
        if self.scale is None:
            return ""
        return f"A number q means (q {self.minus}) * {self.step}."

    def __str__(self) -> str:
        text = f"{list(self.shape)} {self.dtype}"
        if self.scale is not None:
            text += f", scale {self.step}, zero point {self.zero_point}"
        return text


@dataclass(frozen=True, eq=False)
class FileFacts:
    """A .tflite file, as a program that loads it has to know it."""

    graph: Graph
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    labels: tuple[str, ...]
    """Names of classes by number, out of the file; empty where it has none."""

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.graph.path.name

    @property
    def stem(self) -> str:
        """The same without its ending."""
        return self.graph.path.stem

    @cached_property
    def customs(self) -> frozenset[str]:
        """The codes of its custom operators."""
        return frozenset(
            operator.op
            for subgraph in self.graph.subgraphs
            for operator in subgraph.operators
            if operator.custom
        )

    @property
    def packed(self) -> bool:
        """Whether weights are unpacked while it runs."""
        return holds_packed(self.graph)

    @property
    def sparse(self) -> bool:
        """Whether any weight is stored sparsely."""
        return any(tensor.sparse for each in self.graph.subgraphs for tensor in each.tensors)

    @property
    def halves(self) -> bool:
        """Whether it lets its runtime compute in half precision."""
        return asks_for_halves(self.graph.metadata)

    @property
    def measuring_only(self) -> bool:
        """Whether its outputs are worth nothing."""
        return read_manifest(self.graph).get("measuring_only") is True

    @property
    def scores(self) -> TensorFacts | None:
        """The one output that holds a score for each class; None for other networks."""
        several = [o for o in self.outputs if len(o.shape) == 2 and o.shape[-1] > 1]
        return several[0] if len(self.outputs) == 1 and several else None

    @property
    def named(self) -> tuple[str, ...]:
        """The labels where there is one for each score."""
        fits = self.scores is not None and self.scores.channels == len(self.labels)
        return self.labels if fits else ()


def facts_of(graph: Graph) -> FileFacts:
    """What a program has to know of a file.

    Raises:
      TfliteError: an input or output is of a type, shape or quantization that no snippet can fill.
    """
    return FileFacts(
        graph, tuple(_inputs(graph)), tuple(_outputs(graph)), read_class_names(graph.path)
    )


def _inputs(graph: Graph) -> Iterator[TensorFacts]:
    specs = {
        port.tensor: spec
        for port, spec in zip(input_ports(graph), inputs_of_file(graph), strict=True)
    }
    for place, index in enumerate(graph.inputs):
        tensor = graph.tensors[index]
        spec = specs.get(index, InputSpec(tensor.name, tensor.shape[1:]))
        facts = _facts(graph, tensor, place, spec.name)
        yield replace(facts, pixels=pixels_of(tensor, spec))


def _outputs(graph: Graph) -> Iterator[TensorFacts]:
    names = {port.tensor: port.name for port in output_ports(graph)}
    for place, index in enumerate(graph.outputs):
        yield _facts(
            graph, graph.tensors[index], place, names.get(index, graph.tensors[index].name)
        )


def _facts(graph: Graph, tensor: Tensor, place: int, name: str) -> TensorFacts:
    scales = tensor.scales if tensor.dtype in QUANTIZED else tensor.scales[:0]
    sound = scales.size < 2 and bool(np.all(np.isfinite(scales) & (scales > 0)))
    if tensor.dtype not in NUMBERS or not sound:
        raise TfliteError(
            f"{graph.path}: tensor '{name}': expected an input or output of {', '.join(NUMBERS)}, "
            f"quantized by one scale above zero or not at all. Received: {tensor.dtype}, scales "
            f"{tensor.scales[:4].tolist()}. Give the model inputs and outputs of numbers, and "
            "convert it again."
        )
    if any(size < 1 for size in tensor.shape):
        raise TfliteError(
            f"{graph.path}: tensor '{name}': expected a shape without empty axes. Received: "
            f"{list(tensor.shape)}. Convert the model with a fixed shape and a batch of 1."
        )
    return TensorFacts(
        *(place, name, tensor.shape, tensor.dtype),
        scale=np.float32(scales[0]) if scales.size else None,
        zero_point=int(tensor.zero_points[0]) if tensor.zero_points.size else 0,
    )

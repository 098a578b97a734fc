"""What an operator's entry sees of the graph while it is lifted, and how it adds layers to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from edgeprune.conversion.lift.island import KeptAside
from edgeprune.conversion.lift.layers import HeldConstant
from edgeprune.conversion.lift.lifted import Constant, Weights
from edgeprune.core.arrays import Array
from edgeprune.keras_model.layers import Layer
from edgeprune.tflite.format.graph import Graph, Operator, Subgraph, Tensor, item_bits

KerasTensor = Any
"""A symbolic tensor of Keras."""
Shape: TypeAlias = tuple[int, ...]
_LONGEST_NAME = 120


class BlockedError(Exception):
    """An operator cannot be lifted; the message gives the reason."""


class BatchNeededError(Exception):
    """An operator works along the first axis, which therefore cannot stay open."""


@dataclass(frozen=True, eq=False)
class Live:
    """A value that depends on the inputs: as Keras has it, and its shape in the file.

    Where the batch is open, the first axis in Keras has the length of the file's for every sample:
    `[1, 7, 7, 8]` becomes `[None, 7, 7, 8]`, and reshaped to `[49, 8]` it is `[None, 8]`.
    """

    tensor: KerasTensor
    shape: Shape
    imaginary: KerasTensor = None
    """The imaginary parts of complex numbers, whose real parts are `tensor`; else None."""


class Building:
    """A Keras graph while it grows: values by tensor index, and what `Lifted` says of layers."""

    def __init__(
        self, graph: Graph, *, whole: bool, read_aside: Collection[int] = frozenset()
    ) -> None:
        self.subgraph: Subgraph = graph.subgraphs[0]
        self._read_aside = read_aside
        self.whole = whole
        """Whether the first axis has the file's length in Keras too."""
        self.live: dict[int, Live] = {}
        self.known: dict[int, Array] = {}
        """Constants, as they are computed with: restored, dequantized, or folded."""
        self.names: set[str] = set()
        self.operators: dict[str, int] = {}
        self.tensors: dict[int, tuple[str, int]] = {}
        self.weights: dict[str, Weights] = {}
        self.constants: dict[str, Constant] = {}
        self.values: list[tuple[Layer, Sequence[Array]]] = []
        """What the layers' weights are set to in the end."""
        self.shared: dict[Hashable, Layer] = {}

    def constant(self, index: int) -> Array | None:
        """The values of a constant tensor; None for one that depends on the inputs."""
        if index not in self.known:
            values = restored(self.subgraph, index)
            if values is None:
                return None
            self.known[index] = values
        return self.known[index]

    def note(self, index: int, live: Live) -> None:
        """Keeps the value of a tensor, which operators aside may read too."""
        if live.imaginary is None and index in self._read_aside:
            layer = KeptAside(name=self.unique_name(f"{self.subgraph.tensors[index].name}_kept"))
            live = Live(layer(live.tensor), live.shape)
        self.live[index] = live
        if live.imaginary is None:
            self.tensors[index] = _place_of(live.tensor)

    def forget(self, index: int) -> None:
        """Drops what was kept of a tensor."""
        self.live.pop(index, None)
        self.tensors.pop(index, None)

    def is_real(self, index: int) -> bool:
        """Whether Keras has a tensor, of real numbers."""
        live = self.live.get(index)
        return live is not None and live.imaginary is None

    def unique_name(self, wanted: str) -> str:
        """A layer name that is not taken yet, from a tensor's name."""
        base = layer_name(wanted)
        name, number = base, 1
        while name.lower() in self.names:
            name, number = f"{base}_{number}", number + 1
        self.names.add(name.lower())
        return name


def _place_of(tensor: KerasTensor) -> tuple[str, int]:
    """The layer or operation that makes a tensor, and which of the outputs of all its calls."""
    history = tensor._keras_history
    before = history.operation._inbound_nodes[: history.node_index]
    earlier = sum(len(node.output_tensors) for node in before)
    return history.operation.name, earlier + history.tensor_index


def layer_name(tensor: str) -> str:
    """A name that Keras takes for a layer: the first part of a fused tensor's name, no slashes."""
    first = tensor.split(";")[0].removeprefix("StatefulPartitionedCall/")
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", first).strip("_.-")
    return plain[:_LONGEST_NAME] or "tensor"


def restored(subgraph: Subgraph, index: int) -> Array | None:
    """A stored constant in real values: float16 and quantized ones as float32.

    None for a tensor without stored values. Integers without scales stay as they are.
    """
    tensor = subgraph.tensors[index] if index >= 0 else None
    if tensor is None or index in subgraph.makers or index in subgraph.inputs:
        return None
    values = tensor.values()
    if 0 in tensor.shape and item_bits(tensor.dtype) is not None:
        values = np.empty(tensor.shape, real_type(tensor.dtype))
    if values is None:
        return None
    if tensor.dtype in ("float16", "bfloat16"):
        return values.astype(np.float32)
    if not quantized(tensor):
        return values
    if not np.isfinite(tensor.scales).all():
        raise BlockedError(f"tensor {tensor.name!r} has scales that are not finite")
    zeros = tensor.zero_points if tensor.zero_points.size else np.zeros(1, np.int64)
    along = [1] * values.ndim
    if tensor.scales.size > 1:
        axis = tensor.quantized_dimension
        if axis >= values.ndim or values.shape[axis] != tensor.scales.size:
            raise BlockedError(
                f"tensor {tensor.name!r} has {tensor.scales.size} scales along axis {axis} of "
                f"{list(values.shape)}"
            )
        along[axis] = -1
    scales = tensor.scales.reshape(along)
    shift = np.resize(zeros, tensor.scales.size).reshape(along)
    # Products of numbers with few digits are exact in float64, and rounded once in float32 alone.
    wide = np.float32 if values.itemsize <= 2 else np.float64
    with np.errstate(over="ignore"):
        real: Array = (values.astype(wide) - shift.astype(wide)) * scales.astype(wide)
        return real.astype(np.float32, copy=False)


class _Defaults:
    """Every option as it is where the file has no table of them."""

    def __getattr__(self, name: str) -> int:
        return 0


_DEFAULTS = _Defaults()


@dataclass(frozen=True, eq=False)
class Site:
    """One operator that is lifted. Positions are those of its inputs."""

    operator: Operator
    building: Building
    name: str
    """Name of the layer that the operator becomes."""

    @property
    def options(self) -> Any:
        """The operator's options; of a missing table, the schema's defaults."""
        return _DEFAULTS if self.operator.options is None else self.operator.options

    @property
    def whole(self) -> bool:
        """As of `Building`."""
        return self.building.whole

    @property
    def count(self) -> int:
        """The number of inputs, the last ones that are left out not counted."""
        given = [at for at, index in enumerate(self.operator.inputs) if index >= 0]
        return given[-1] + 1 if given else 0

    def constant(self, position: int) -> Array | None:
        """The values of a constant input; None for any other, or one that is left out."""
        if position >= self.count:
            return None
        return self.building.constant(self.operator.inputs[position])

    def needed(self, position: int, what: str) -> Array:
        """The values of an input that has to be constant.

        Raises:
          BlockedError: it depends on the inputs.
        """
        values = self.constant(position)
        if values is None:
            raise BlockedError(f"its {what} depends on the inputs")
        return values

    def bias(self, position: int, outputs: int) -> list[Array]:
        """The bias `[outputs]` in a list, as weights of a layer are; empty where there is none.

        Raises:
          BlockedError: it has another length, or depends on the inputs.
        """
        if position >= self.count:
            return []
        values = self.needed(position, "bias").reshape(-1)
        if values.size != outputs:
            raise BlockedError(f"its bias has {values.size} values for {outputs} outputs")
        return [values]

    def numbers(self, position: int, what: str) -> list[int]:
        """As `needed`, flat whole numbers."""
        return [int(value) for value in self.needed(position, what).reshape(-1)]

    def is_live(self, position: int) -> bool:
        """Whether an input depends on the model's inputs."""
        return position < self.count and self.operator.inputs[position] in self.building.live

    def tensor(self, position: int) -> KerasTensor:
        """An input as Keras has it; a constant is held by a layer that gives it for every sample.

        Raises:
          BlockedError: it is left out.
        """
        if self.is_live(position):
            live = self.value(position)
            if live.imaginary is not None:
                raise BlockedError("it computes with complex numbers")
            return live.tensor
        values = self.constant(position)
        if values is None:
            raise BlockedError(f"its input {position} is left out")
        if self.whole:
            return self.held(position)
        if not values.ndim or values.shape[0] != 1:
            raise BatchNeededError
        return self._held(position, values[0], whole=False)

    def value(self, position: int) -> Live:
        """An input that depends on the model's inputs, complex or not."""
        return self.building.live[self.operator.inputs[position]]

    def held(self, position: int) -> KerasTensor:
        """A constant input as it is, without an axis for samples, held by a layer."""
        return self._held(position, self.needed(position, "constant"), whole=True)

    def _held(self, position: int, values: Array, *, whole: bool) -> KerasTensor:
        anchors = [at for at in range(self.count) if self.is_live(at)]
        if not anchors:
            raise BlockedError("all of its inputs are constant")
        name = self.new_name("constant")
        layer = HeldConstant(values.shape, whole=whole, dtype=values.dtype.name, name=name)
        made = self.apply(layer, self.tensor(anchors[0]))
        self.hold(layer, position, "value")
        self.building.values.append((layer, [values]))
        return made

    def shape(self, position: int) -> Shape:
        """An input's shape, with the batch axis, as the file has it."""
        index = self.operator.inputs[position]
        if index in self.building.live:
            return self.building.live[index].shape
        values = self.constant(position)
        return self.building.subgraph.tensors[index].shape if values is None else values.shape

    def declared(self, output: int = 0) -> Shape | None:
        """An output's shape as the file declares it; None where it leaves sizes open."""
        tensor = self.building.subgraph.tensors[self.operator.outputs[output]]
        is_open = any(size < 0 for size in tensor.shape_signature[1:])
        return None if is_open or not tensor.shape else tensor.shape

    def out_dtype(self, output: int = 0) -> str:
        """The type of an output, as Keras has it."""
        return type_of(self.building.subgraph.tensors[self.operator.outputs[output]])

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front.

        Raises:
          BatchNeededError: it is the first one, which is open.
          BlockedError: there is no such axis.
        """
        if not -rank <= axis < rank:
            raise BlockedError(f"it has axis {axis} of {rank}")
        if axis % rank == 0 and not self.whole:
            raise BatchNeededError
        return axis % rank

    def new_name(self, suffix: str) -> str:
        """A name for one more layer of the operator."""
        return self.building.unique_name(f"{self.name}_{suffix}")

    def apply(self, layer: Layer, given: Any) -> KerasTensor:
        """Calls a layer, which stands for the operator."""
        made = layer(given)
        self.building.operators.setdefault(layer.name, self.operator.index)
        return made

    def shared(self, options: Hashable, make: Callable[[str], Layer]) -> Layer:
        """The layer for the operator's weights: one where several operators agree in all but input.

        Args:
          options: what the layer depends on beside operator, kernel and bias.
          make: given a name, makes the layer.
        """
        key = (self.operator.op, self.operator.inputs[1:], options, self.shape(0)[-1])
        layer = self.building.shared.get(key)
        if layer is None:
            layer = self.building.shared[key] = make(self.name)
        return layer

    def compute(self, suffix: str, function: Callable[..., Any], *given: Any, **more: Any) -> Any:
        """Calls a function of `keras.ops`, and names the operation behind its results.

        Args:
          suffix: of the name; empty for the operation that is the operator itself.
          function: of which one operation comes.
          *given: its arguments.
          **more: its named arguments.
        """
        made = function(*given, **more)
        operation = (made[0] if isinstance(made, list | tuple) else made)._keras_history.operation
        operation.name = self.new_name(suffix) if suffix else self.name
        self.building.operators[operation.name] = self.operator.index
        return made

    def weigh(
        self,
        layer: Layer,
        values: Sequence[Array],
        *,
        kernel: int = 1,
        bias: int = 2,
        transposed: bool = False,
    ) -> None:
        """Notes a new layer's weights: their values, and which of the inputs they come from."""
        if layer.name in self.building.weights:
            return
        inputs, kind = self.operator.inputs, type(layer).__name__
        biased = inputs[bias] if len(values) > 1 else None
        found = Weights(self.operator.index, inputs[kernel], biased, kind, transposed)
        self.building.weights[layer.name] = found
        self.building.values.append((layer, values))

    def hold(self, layer: Layer, position: int, weight: str = "") -> None:
        """Notes that a layer holds a constant of the file."""
        index = self.operator.inputs[position]
        self.building.constants[layer.name] = Constant(self.operator.index, index, weight)


def real_type(dtype: str) -> str:
    """The type in which Keras computes what a file has in `dtype`."""
    return "float32" if dtype.startswith(("float", "bfloat")) else dtype


def type_of(tensor: Tensor) -> str:
    """The type in which Keras computes a tensor: quantized ones in the reals they stand for."""
    return "float32" if quantized(tensor) else real_type(tensor.dtype)


def quantized(tensor: Tensor) -> bool:
    """Whether whole numbers in it stand for real values."""
    return tensor.scales.size > 0 and not tensor.dtype.startswith(("float", "bfloat"))


def span_of(tensor: Tensor) -> tuple[float, float]:
    """The least and the greatest real value that a tensor with one scale holds."""
    limits = np.iinfo(tensor.dtype)
    zero = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
    step = float(tensor.scales[0])
    return (int(limits.min) - zero) * step, (int(limits.max) - zero) * step


def keras_dtype(tensor: KerasTensor) -> str:
    """The type of a Keras tensor."""
    return str(keras.backend.standardize_dtype(tensor.dtype))

"""A family of small networks around XNNPACK's sparse mode, each with what the gate must say.

Every network is a stem, depthwise and 1x1 convolutions and a classifier, with one thing changed.
`FAMILY` names them with the verdict per runtime; `save` writes one densely, and `save_sparse`
the same weights behind DENSIFY whatever the gate says, so that a real ARM64 runtime can be asked:
"on" means fewer instructions and equal outputs, "off" equal both, and "dangerous" wrong outputs,
a wrong shape or a file that does not load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.layouts import smallest_layout
from edgeprune.tflite.storage_plan import TensorPlan
from edgeprune.tflite.store_sparsely import apply_plans
from tests.support.tflite_builder import Net, prune

SAME, VALID = 0, 1
LINEAR, RELU, RELU6 = 0, 1, 3


class Trunk:
    """A network under construction; every layer takes and returns a tensor's index."""

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        batch: int = 1,
        zeros: float = 0.9,
        half: bool = False,
        mixed: bool = False,
    ) -> None:
        self.net = Net()
        self.rng = np.random.default_rng(7)
        self.zeros = zeros
        self.half = half
        self.mixed = mixed
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.x = self.value((batch, size, size, channels), "x")
        self.outputs: list[int] = []

    def value(self, shape: Sequence[int], name: str = "") -> int:
        index = self.net.tensor(name or f"t{len(self.net.graph.tensors)}", shape)
        self.shapes[index] = tuple(shape)
        return index

    def constant(self, data: Any) -> int:
        array = np.asarray(data, np.float32)
        index = self.net.constant(f"c{len(self.net.graph.tensors)}", array)
        self.shapes[index] = array.shape
        return index

    def integers(self, data: Any) -> int:
        return self.net.constant(f"i{len(self.net.graph.tensors)}", np.array(data, np.int32))

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        options: Any = None,
        version: int = 1,
    ) -> int:
        out = self.value(shape)
        self.net.operator(name, inputs, [out], version, options)
        return out

    def weights(self, shape: Sequence[int], fan_in: int) -> Any:
        return (self.rng.standard_normal(shape) / np.sqrt(fan_in / 2)).astype(np.float32)

    def kernel(self, weights: Any) -> int:
        """Adds weights; as float16 behind DEQUANTIZE where the network is `half`."""
        if not self.half:
            return self.constant(weights)
        half = self.net.constant(f"h{len(self.net.graph.tensors)}", weights.astype(np.float16))
        return self.op("DEQUANTIZE", [half], weights.shape, version=3)

    def bias(self, channels: int) -> int:
        values = (self.rng.standard_normal(channels) * 0.1).astype(np.float32)
        return self.constant(values) if self.mixed else self.kernel(values)

    def pad(self, x: int, top: int, bottom: int, left: int, right: int) -> int:
        batch, height, width, channels = self.shapes[x]
        amounts = self.integers([[0, 0], [top, bottom], [left, right], [0, 0]])
        shape = (batch, height + top + bottom, width + left + right, channels)
        return self.op("PAD", [x, amounts], shape, schema.PadOptionsT())

    def conv(
        self,
        x: int,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int = SAME,
        act: int = RELU,
        dilation: int = 1,
        sparse: bool = True,
    ) -> int:
        in_ = self.shapes[x][3]
        weights = self.weights((out, kernel, kernel, in_), kernel * kernel * in_)
        if kernel == 1 and sparse:
            block = (2 if out % 2 == 0 else 1, 1, 1, 1)
            weights = prune(weights, self.zeros, block) * np.float32(3)
        options = schema.Conv2DOptionsT(
            padding=padding,
            strideH=stride,
            strideW=stride,
            fusedActivationFunction=act,
            dilationHFactor=dilation,
            dilationWFactor=dilation,
        )
        inputs = [x, self.kernel(weights), self.bias(out)]
        return self.op(
            "CONV_2D", inputs, self.strided(x, kernel, stride, padding, out, dilation), options
        )

    def strided(
        self, x: int, kernel: int, stride: int, padding: int, out: int, dilation: int = 1
    ) -> tuple[int, ...]:
        batch, *sides, _ = self.shapes[x]
        reach = (kernel - 1) * dilation
        sizes = [(s - (reach if padding == VALID else 0) - 1) // stride + 1 for s in sides]
        return (batch, *sizes, out)

    def dw(
        self,
        x: int,
        kernel: int = 3,
        stride: int = 1,
        padding: int = SAME,
        act: int = RELU,
        dilation: int = 1,
        multiplier: int = 1,
    ) -> int:
        channels = self.shapes[x][3] * multiplier
        weights = self.kernel(self.weights((1, kernel, kernel, channels), kernel * kernel))
        options = schema.DepthwiseConv2DOptionsT(
            padding=padding,
            strideH=stride,
            strideW=stride,
            depthMultiplier=multiplier,
            fusedActivationFunction=act,
            dilationHFactor=dilation,
            dilationWFactor=dilation,
        )
        shape = self.strided(x, kernel, stride, padding, channels, dilation)
        inputs = [x, weights, self.bias(channels)]
        return self.op("DEPTHWISE_CONV_2D", inputs, shape, options)

    def stem(self, x: int | None = None, out: int = 16, act: int = RELU) -> int:
        source = self.pad(self.x if x is None else x, 1, 1, 1, 1)
        return self.conv(source, out, 3, 2, VALID, act)

    def down(self, x: int, kernel: int = 3, act: int = RELU) -> int:
        half = kernel // 2
        return self.dw(self.pad(x, half, half, half, half), kernel, 2, VALID, act)

    def unary(self, name: str, x: int, options: Any = None, version: int = 1) -> int:
        return self.op(name, [x], self.shapes[x], options, version)

    def binary(self, name: str, a: int, b: int, act: int = LINEAR, version: int = 1) -> int:
        shape = np.broadcast_shapes(self.shapes[a], self.shapes[b])
        kind = {"ADD": "Add", "MUL": "Mul", "SUB": "Sub", "DIV": "Div"}.get(name)
        options = None
        if kind is not None:
            options = getattr(schema, f"{kind}OptionsT")(fusedActivationFunction=act)
        elif name in ("MAXIMUM", "MINIMUM"):
            options = schema.MaximumMinimumOptionsT()
        return self.op(name, [a, b], shape, options, version)

    def mean(self, x: int, keep: bool = False, axes: Sequence[int] = (1, 2)) -> int:
        kept = [1 if i in axes else s for i, s in enumerate(self.shapes[x])]
        shape = kept if keep else [s for i, s in enumerate(self.shapes[x]) if i not in axes]
        options = schema.ReducerOptionsT(keepDims=keep)
        return self.op("MEAN", [x, self.integers(list(axes))], shape, options)

    def transpose(self, x: int, order: Sequence[int]) -> int:
        shape = [self.shapes[x][axis] for axis in order]
        options = schema.TransposeOptionsT()
        return self.op("TRANSPOSE", [x, self.integers(list(order))], shape, options)

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        target = self.integers(list(shape))
        options = schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
        return self.op("RESHAPE", [x, target], shape, options)

    def fc(self, x: int, out: int, zeros: float = 0.0) -> int:
        in_ = self.shapes[x][-1]
        weights = self.weights((out, in_), in_)
        if zeros:
            weights = prune(weights, zeros, (1, 1))
        options = schema.FullyConnectedOptionsT(keepNumDims=len(self.shapes[x]) > 2)
        inputs = [x, self.constant(weights), self.bias(out)]
        return self.op("FULLY_CONNECTED", inputs, (*self.shapes[x][:-1], out), options)

    def pool(self, name: str, x: int, size: int = 2, stride: int = 2) -> int:
        options = schema.Pool2DOptionsT(
            padding=VALID, strideH=stride, strideW=stride, filterHeight=size, filterWidth=size
        )
        return self.op(name, [x], self.strided(x, size, stride, VALID, self.shapes[x][3]), options)

    def resize(self, name: str, x: int, factor: int = 2, half_pixel: bool = True) -> int:
        batch, height, width, channels = self.shapes[x]
        size = self.integers([height * factor, width * factor])
        kind = "Bilinear" if name == "RESIZE_BILINEAR" else "NearestNeighbor"
        options = getattr(schema, f"Resize{kind}OptionsT")(halfPixelCenters=half_pixel)
        shape = (batch, height * factor, width * factor, channels)
        return self.op(name, [x, size], shape, options, 3)

    def concat(self, a: int, b: int) -> int:
        shape = (*self.shapes[a][:3], self.shapes[a][3] + self.shapes[b][3])
        return self.op("CONCATENATION", [a, b], shape, schema.ConcatenationOptionsT(axis=3))

    def excite(self, x: int, gate: Callable[[Trunk, int], int], dense: bool = False) -> int:
        """Squeeze and excite, gated by `gate`."""
        channels = self.shapes[x][3]
        if dense:
            small = self.fc(self.mean(x), channels)
            small = self.reshape(small, (1, 1, 1, channels))
        else:
            small = self.conv(self.mean(x, keep=True), channels // 16, sparse=False)
            small = self.conv(small, channels, act=LINEAR, sparse=False)
        return self.binary("MUL", x, gate(self, small))

    def d2s(self, x: int) -> int:
        batch, height, width, channels = self.shapes[x]
        options = schema.DepthToSpaceOptionsT(blockSize=2)
        return self.op(
            "DEPTH_TO_SPACE", [x], (batch, height * 2, width * 2, channels // 4), options
        )

    def save(self, path: Path, *outputs: int) -> Path:
        return self.net.save(path, [self.x], outputs)


Middle = Callable[[Trunk, int], int]
Head = Callable[[Trunk, int], Sequence[int]]


def logistic(trunk: Trunk, x: int) -> int:
    return trunk.unary("LOGISTIC", x)


def hard_sigmoid(shape: Sequence[int], first: bool = False) -> Callable[[Trunk, int], int]:
    """relu6(x + 3) / 6, with constants of a shape, in front of or behind the map."""

    def apply(trunk: Trunk, x: int) -> int:
        three = trunk.constant(np.full(shape, 3))
        sixth = trunk.constant(np.full(shape, 1 / 6))
        plus = trunk.binary("ADD", *((three, x) if first else (x, three)), act=RELU6)
        return trunk.binary("MUL", *((sixth, plus) if first else (plus, sixth)))

    return apply


def add_constant(shape: Sequence[int], op: str = "ADD", first: bool = False) -> Middle:
    def apply(trunk: Trunk, x: int) -> int:
        size = int(np.prod(shape))
        values = trunk.constant((0.5 + np.arange(size) / size).reshape(shape))
        return trunk.binary(op, *((values, x) if first else (x, values)))

    return apply


def _classifier(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.fc(trunk.mean(x), 10)]


def _through(_: Trunk, x: int) -> int:
    return x


@dataclass(frozen=True)
class Network:
    """One member: `verdicts` are those of tflite-runtime and of LiteRT."""

    name: str
    verdicts: tuple[str, str]
    stem: Callable[[Trunk], int] = Trunk.stem
    first: Middle = _through
    middle: Middle = _through
    head: Head = _classifier
    size: int = 32
    channels: int = 3
    batch: int = 1
    zeros: float = 0.9
    width: int = 32
    half: bool = False
    mixed: bool = False

    def save(self, path: Path) -> Path:
        """Writes the network with dense weights."""
        trunk = Trunk(self.size, self.channels, self.batch, self.zeros, self.half, self.mixed)
        x = self.first(trunk, self.stem(trunk))
        x = trunk.conv(trunk.dw(x), self.width)
        x = trunk.conv(trunk.down(x), 2 * self.width)
        x = self.middle(trunk, x)
        x = trunk.conv(trunk.dw(x), 2 * self.width)
        return trunk.save(path, *self.head(trunk, x))


def save_sparse(dense: Path, path: Path, only: str = "CONV_2D") -> Path:
    """Stores all weights of one operator behind DENSIFY, without asking the gate."""
    draft = load(dense)
    main = draft.graph.subgraphs[0]
    plans = []
    limit = 0.9 if only == "CONV_2D" else 1.0
    for operator in main.operators:
        weights = main.constant_behind(operator.inputs[1])[0] if operator.op == only else None
        values = None if weights is None else weights.values()
        if weights is None or values is None or (values != 0).mean() > limit:
            continue
        layout, size = smallest_layout(values != 0, values.itemsize)
        plans.append(
            TensorPlan(weights.index, weights.name, only, "densify", layout, "", 0.0, 0, size)
        )
    apply_plans(draft, plans)
    write(draft, path)
    return path


def ask_for_halves(path: Path, output: Path, value: bytes = b"fp16accfp16") -> Path:
    """Adds the metadata by which a converter lets runtimes compute in half precision."""
    draft = load(path)
    draft.model.buffers.append(schema.BufferT(data=np.frombuffer(value, np.uint8)))
    entry = schema.MetadataT(b"reduced_precision_support", len(draft.model.buffers) - 1)
    draft.model.metadata = [*(draft.model.metadata or []), entry]
    write(draft, output)
    return output


ON, OFF, BAD = "on", "off", "dangerous"


def _same_stem(trunk: Trunk) -> int:
    return trunk.conv(trunk.x, 16, 3, 2, SAME)


def _stem_of(kernel: int, stride: int) -> Callable[[Trunk], int]:
    def stem(trunk: Trunk) -> int:
        half = kernel // 2
        return trunk.conv(trunk.pad(trunk.x, half, half, half, half), 16, kernel, stride, VALID)

    return stem


def _keras_stem(trunk: Trunk) -> int:
    return trunk.conv(trunk.pad(trunk.x, 0, 1, 0, 1), 16, 3, 2, VALID)


def _rescaled_stem(trunk: Trunk) -> int:
    scaled = trunk.binary("MUL", trunk.x, trunk.constant(2.0))
    return trunk.stem(trunk.binary("ADD", scaled, trunk.constant([0.1, 0.2, 0.3])))


def _widened_stem(trunk: Trunk) -> int:
    return trunk.stem(trunk.conv(trunk.x, 3, act=LINEAR, sparse=False))


def _concat_stem(trunk: Trunk) -> int:
    twice = trunk.concat(trunk.x, trunk.x)
    return trunk.stem(trunk.concat(twice, trunk.x))


def _residual(trunk: Trunk, x: int) -> int:
    branch = trunk.conv(trunk.dw(x), trunk.shapes[x][3], act=LINEAR)
    return trunk.binary("ADD", x, branch)


def _shared(name: str) -> Middle:
    def middle(trunk: Trunk, x: int) -> int:
        other = trunk.conv(trunk.dw(x), trunk.shapes[x][3])
        return trunk.concat(x, other) if name == "CONCATENATION" else trunk.binary(name, x, other)

    return middle


def _unary(name: str, options: Any = None, version: int = 1) -> Middle:
    return lambda trunk, x: trunk.unary(name, x, options, version)


def _leaky(trunk: Trunk, x: int) -> int:
    return trunk.unary("LEAKY_RELU", x, schema.LeakyReluOptionsT(alpha=0.1))


def _gelu(trunk: Trunk, x: int) -> int:
    return trunk.unary("GELU", x, schema.GeluOptionsT())


def _prelu(trunk: Trunk, x: int) -> int:
    alpha = trunk.constant(np.full((1, 1, trunk.shapes[x][3]), 0.2))
    return trunk.op("PRELU", [x, alpha], trunk.shapes[x])


def _swish(trunk: Trunk, x: int) -> int:
    return trunk.binary("MUL", x, trunk.unary("LOGISTIC", x))


def _dilated(trunk: Trunk, x: int) -> int:
    return trunk.dw(x, dilation=2)


def _keras_down(trunk: Trunk, x: int) -> int:
    return trunk.dw(trunk.pad(x, 0, 1, 0, 1), 3, 2, VALID)


def _plain_relu(trunk: Trunk, x: int) -> int:
    return trunk.unary("RELU6", trunk.conv(x, trunk.shapes[x][3], act=LINEAR))


def _channel_scale(trunk: Trunk, x: int) -> int:
    return add_constant((trunk.shapes[x][3],), "MUL")(trunk, x)


def _channel_scale_first(trunk: Trunk, x: int) -> int:
    return add_constant((1, 1, 1, trunk.shapes[x][3]), "MUL", True)(trunk, x)


def _channel_add_first(trunk: Trunk, x: int) -> int:
    return add_constant((1, 1, 1, trunk.shapes[x][3]), "ADD", True)(trunk, x)


def _fc_in_map(trunk: Trunk, x: int) -> int:
    return trunk.fc(x, trunk.shapes[x][3], zeros=0.9)


def _conv_head(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.conv(trunk.mean(x, keep=True), 10, act=LINEAR, sparse=False)]


def _reshaped_conv_head(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.reshape(_conv_head(trunk, x)[0], (1, 10))]


def _flat_head(trunk: Trunk, x: int) -> Sequence[int]:
    flat = trunk.reshape(trunk.mean(x, keep=True), (1, trunk.shapes[x][3]))
    return [trunk.fc(flat, 10)]


def _wide_head(zeros: float = 0.0) -> Head:
    return lambda trunk, x: [trunk.fc(trunk.mean(x), 400, zeros)]


def _two_dense(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.fc(trunk.fc(trunk.mean(x), 24), 10)]


def _two_dense_relu(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.fc(trunk.unary("RELU", trunk.fc(trunk.mean(x), 24)), 10)]


def _softmax(trunk: Trunk, x: int) -> Sequence[int]:
    logits = _classifier(trunk, x)[0]
    return [trunk.unary("SOFTMAX", logits, schema.SoftmaxOptionsT(beta=1.0))]


def _two_heads(trunk: Trunk, x: int) -> Sequence[int]:
    mean = trunk.mean(x)
    return [trunk.fc(mean, 10), trunk.fc(mean, 4)]


def _two_means(trunk: Trunk, x: int) -> Sequence[int]:
    return [*_classifier(trunk, x), *_classifier(trunk, trunk.conv(x, 32))]


def _feature_too(trunk: Trunk, x: int) -> Sequence[int]:
    return [x, *_classifier(trunk, trunk.conv(trunk.dw(x), 32))]


def _flat_dense(trunk: Trunk, x: int) -> Sequence[int]:
    size = int(np.prod(trunk.shapes[x][1:]))
    return [trunk.fc(trunk.reshape(x, (1, size)), 10)]


def _pool_flat(name: str) -> Head:
    def head(trunk: Trunk, x: int) -> Sequence[int]:
        side = trunk.shapes[x][1]
        pooled = trunk.pool(name, x, side, side)
        return [trunk.fc(trunk.reshape(pooled, (1, trunk.shapes[x][3])), 10)]

    return head


def _reduce_max(trunk: Trunk, x: int) -> Sequence[int]:
    options = schema.ReducerOptionsT(keepDims=False)
    axes = trunk.integers([1, 2])
    return [trunk.op("REDUCE_MAX", [x, axes], (1, trunk.shapes[x][3]), options)]


def _sum_head(trunk: Trunk, x: int) -> Sequence[int]:
    options = schema.ReducerOptionsT(keepDims=False)
    axes = trunk.integers([1, 2])
    return [trunk.fc(trunk.op("SUM", [x, axes], (1, trunk.shapes[x][3]), options), 10)]


def _channel_mean(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.mean(x, axes=(3,))]


def _row_mean(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.mean(x, axes=(1,))]


def _same_everywhere(trunk: Trunk, x: int) -> int:
    return trunk.dw(x, 3, 2, SAME)


def _two_stems(trunk: Trunk) -> int:
    return trunk.binary("ADD", trunk.stem(), trunk.stem(), act=RELU6)


def _scaled_by_pooled(trunk: Trunk, x: int) -> int:
    """Squeeze and excite with the small factor first."""
    small = trunk.unary("LOGISTIC", trunk.mean(x, keep=True))
    return trunk.binary("MUL", small, x, act=RELU)


def _attended(trunk: Trunk, x: int) -> int:
    """One factor per pixel, for all channels."""
    factors = trunk.unary("LOGISTIC", trunk.conv(x, 1, act=LINEAR))
    return trunk.binary("MUL", x, factors)


def _doubled(trunk: Trunk, x: int) -> int:
    return trunk.binary("ADD", x, x)


def _excited_twice(trunk: Trunk, x: int) -> int:
    return trunk.excite(trunk.dw(trunk.excite(x, logistic)), logistic)


def _reversed_mean(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.fc(trunk.mean(x, axes=(2, 1)), 10)]


def _turned_mean(keep: bool = False, also: bool = False) -> Head:
    """PyTorch's mean over the last two axes of `[n, c, h, w]`, in front of a classifier."""

    def head(trunk: Trunk, x: int) -> Sequence[int]:
        turned = trunk.transpose(x, (0, 3, 1, 2))
        mean = trunk.mean(turned, keep=keep, axes=(2, 3))
        flat = trunk.reshape(mean, (1, trunk.shapes[x][3])) if keep else mean
        return [trunk.fc(flat, 10), *([trunk.mean(turned, axes=(1,))] if also else [])]

    return head


def _wide_bias(trunk: Trunk, x: int) -> Sequence[int]:
    """A classifier whose bias has an axis for samples."""
    made = trunk.fc(trunk.mean(x), 10)
    operator = trunk.net.graph.operators[-1]
    operator.inputs[2] = trunk.constant(np.linspace(-1, 1, 10).reshape(1, 10))
    return [made]


def _kept_mean_flat_output(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.reshape(trunk.mean(x, keep=True), (1, trunk.shapes[x][3]))]


def _kept_mean_two_ways(trunk: Trunk, x: int) -> Sequence[int]:
    mean = trunk.mean(x, keep=True)
    return [trunk.fc(trunk.reshape(mean, (1, trunk.shapes[x][3])), 10), mean]


def _kept_mean_logistic(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.unary("LOGISTIC", trunk.mean(x, keep=True))]


def _dense_behind_kept_mean(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.fc(trunk.mean(x, keep=True), 10)]


def _d2s_mid(trunk: Trunk, x: int) -> int:
    return trunk.d2s(x)


def _d2s_and_mean(trunk: Trunk, x: int) -> Sequence[int]:
    return [trunk.d2s(x), *_classifier(trunk, x)]


def _resize_from_corners(trunk: Trunk, x: int) -> int:
    return trunk.resize("RESIZE_BILINEAR", x, 3, half_pixel=False)


FAMILY: tuple[Network, ...] = (
    Network("base", (ON, ON)),
    Network("stem_same", (OFF, OFF), stem=_same_stem),
    Network("stem_keraspad", (OFF, OFF), stem=_keras_stem),
    Network("stem_1ch", (OFF, OFF), channels=1),
    Network("stem_4ch", (OFF, OFF), channels=4),
    Network("stem_s1", (OFF, OFF), stem=_stem_of(3, 1)),
    Network("stem_5x5", (OFF, OFF), stem=_stem_of(5, 2)),
    Network("stem_7x7", (OFF, OFF), stem=_stem_of(7, 2)),
    Network("stem_1ch_concat", (ON, ON), channels=1, stem=_concat_stem),
    Network("stem_1ch_conv1x1", (ON, ON), channels=1, stem=_widened_stem),
    Network("stem_rescaled", (ON, ON), stem=_rescaled_stem),
    Network("dws2_same", (BAD, BAD), middle=_same_everywhere),
    Network("dws2_keraspad", (BAD, BAD), middle=_keras_down),
    Network("dws2_pad", (ON, ON), middle=Trunk.down),
    Network("dws2_pad_5x5", (ON, ON), middle=lambda t, x: t.down(x, 5)),
    Network(
        "dws2_same_pool_end",
        (OFF, OFF),
        middle=_same_everywhere,
        head=_pool_flat("AVERAGE_POOL_2D"),
    ),
    Network("all_same", (OFF, OFF), stem=_same_stem, middle=_same_everywhere),
    Network("dw5x5", (ON, ON), middle=lambda t, x: t.dw(x, 5)),
    Network("dw7x7_first", (OFF, OFF), first=lambda t, x: t.dw(x, 7)),
    Network("dw7x7_mid", (BAD, BAD), middle=lambda t, x: t.dw(x, 7)),
    Network("dw_dilated", (BAD, BAD), middle=_dilated),
    Network("dw_multiplier", (BAD, BAD), middle=lambda t, x: t.dw(x, multiplier=2)),
    Network("residual", (ON, ON), middle=_residual),
    Network("residual_twice", (ON, ON), middle=lambda t, x: _residual(t, _residual(t, x))),
    Network("se_logistic", (ON, ON), middle=lambda t, x: t.excite(x, logistic)),
    Network("se_hard_scalar", (OFF, OFF), middle=lambda t, x: t.excite(x, hard_sigmoid(()))),
    Network("se_hard_4d", (ON, ON), middle=lambda t, x: t.excite(x, hard_sigmoid((1, 1, 1, 1)))),
    Network(
        "se_hard_4d_first",
        (ON, ON),
        middle=lambda t, x: t.excite(x, hard_sigmoid((1, 1, 1, 1), True)),
    ),
    Network("se_dense", (OFF, OFF), middle=lambda t, x: t.excite(x, logistic, dense=True)),
    Network("hard_swish", (ON, ON), middle=_unary("HARD_SWISH")),
    Network("swish", (ON, ON), middle=_swish),
    Network("relu6_apart", (ON, ON), middle=_plain_relu),
    Network("leaky", (ON, ON), middle=_leaky),
    Network("prelu_first", (OFF, OFF), first=_prelu),
    Network("prelu_mid", (BAD, BAD), middle=_prelu),
    Network("elu", (ON, ON), middle=_unary("ELU")),
    Network("abs", (ON, ON), middle=_unary("ABS")),
    Network("neg", (ON, ON), middle=_unary("NEG")),
    Network("square", (ON, ON), middle=_unary("SQUARE")),
    Network("sqrt", (BAD, ON), middle=_unary("SQRT")),
    Network("gelu_mid", (OFF, ON), middle=_gelu),
    Network("gelu_first", (OFF, ON), first=_gelu),
    Network("tanh_first", (OFF, ON), first=_unary("TANH")),
    Network("tanh_mid", (BAD, ON), middle=_unary("TANH")),
    Network("concat_mid", (OFF, OFF), middle=_shared("CONCATENATION")),
    Network("sub_mid", (OFF, OFF), middle=_shared("SUB")),
    Network("maximum_mid", (OFF, OFF), middle=_shared("MAXIMUM")),
    Network("mul_mid", (ON, ON), middle=_shared("MUL")),
    Network("resize_bilinear", (ON, ON), middle=lambda t, x: t.resize("RESIZE_BILINEAR", x)),
    Network(
        "resize_nearest", (OFF, OFF), middle=lambda t, x: t.resize("RESIZE_NEAREST_NEIGHBOR", x)
    ),
    Network("avgpool_mid", (BAD, BAD), middle=lambda t, x: t.pool("AVERAGE_POOL_2D", x)),
    Network("maxpool_mid", (BAD, BAD), middle=lambda t, x: t.pool("MAX_POOL_2D", x)),
    Network("conv3x3_mid", (BAD, BAD), middle=lambda t, x: t.conv(x, 64, 3)),
    Network("conv1x1_s2_mid", (BAD, BAD), middle=lambda t, x: t.conv(x, 64, 1, 2)),
    Network("scale_scalar", (BAD, BAD), middle=add_constant((), "MUL")),
    Network("scale_4d_second", (BAD, BAD), middle=add_constant((1, 1, 1, 1), "MUL")),
    Network("scale_4d_first", (ON, ON), middle=add_constant((1, 1, 1, 1), "MUL", True)),
    Network("add_scalar", (BAD, BAD), middle=add_constant(())),
    Network("add_4d_first", (ON, ON), middle=add_constant((1, 1, 1, 1), "ADD", True)),
    Network("channel_scale", (BAD, BAD), middle=_channel_scale),
    Network("channel_scale_first", (ON, ON), middle=_channel_scale_first),
    Network("channel_add_first", (ON, ON), middle=_channel_add_first),
    Network("div_scalar", (BAD, BAD), middle=add_constant((), "DIV")),
    Network("maximum_scalar", (BAD, ON), middle=add_constant((), "MAXIMUM")),
    Network("fc_in_map", (BAD, ON), middle=_fc_in_map),
    Network("batch2", (ON, ON), batch=2),
    Network("end_conv_behind_kept_mean", (ON, BAD), head=_conv_head),
    Network("end_reshaped_conv", (ON, BAD), head=_reshaped_conv_head),
    Network("end_kept_mean_flat", (ON, ON), head=_flat_head),
    Network("end_kept_mean", (ON, BAD), head=lambda t, x: [t.mean(x, keep=True)]),
    Network("end_mean", (ON, ON), head=lambda t, x: [t.mean(x)]),
    Network("end_wide_dense", (ON, ON), head=_wide_head(), zeros=0.75),
    Network("end_wide_sparse", (ON, ON), head=_wide_head(0.8), zeros=0.75),
    Network("end_two_dense", (ON, ON), head=_two_dense),
    Network("end_two_dense_relu", (ON, ON), head=_two_dense_relu),
    Network("end_softmax", (ON, ON), head=_softmax),
    Network("end_two_heads", (ON, ON), head=_two_heads),
    Network("end_two_means", (ON, ON), head=_two_means),
    Network("end_feature_too", (BAD, BAD), head=_feature_too),
    Network("end_feature", (OFF, OFF), head=lambda _, x: [x]),
    Network("end_conv", (OFF, OFF), head=lambda t, x: [t.conv(x, 10)]),
    Network("end_flat_dense", (OFF, OFF), head=_flat_dense),
    Network("end_avgpool", (OFF, OFF), head=_pool_flat("AVERAGE_POOL_2D")),
    Network("end_maxpool", (OFF, OFF), head=_pool_flat("MAX_POOL_2D")),
    Network("end_reduce_max", (OFF, OFF), head=_reduce_max),
    Network("end_sum", (OFF, ON), head=_sum_head),
    Network("end_d2s", (ON, ON), head=lambda t, x: [t.d2s(x)]),
    Network("end_resize", (OFF, OFF), head=lambda t, x: [t.resize("RESIZE_BILINEAR", x)]),
    Network("end_channel_mean", (OFF, ON), head=_channel_mean),
    Network("end_row_mean", (OFF, BAD), head=_row_mean),
    Network("zeros_66", (OFF, OFF), zeros=0.62),
    Network("zeros_75", (ON, ON), zeros=0.75),
    Network("two_stems", (ON, ON), stem=_two_stems),
    Network("scaled_by_pooled", (ON, BAD), middle=_scaled_by_pooled),
    Network("attended", (ON, ON), middle=_attended),
    Network("doubled", (ON, OFF), middle=_doubled),
    Network("excited_twice", (ON, ON), middle=_excited_twice),
    Network("end_reversed_mean", (ON, ON), head=_reversed_mean),
    Network("end_turned_mean", (OFF, OFF), head=_turned_mean()),
    Network("end_turned_kept_mean", (OFF, OFF), head=_turned_mean(keep=True)),
    Network("end_turned_mean_of_two", (OFF, OFF), head=_turned_mean(also=True)),
    Network("end_wide_bias", (ON, ON), head=_wide_bias),
    Network("end_kept_mean_flat_output", (ON, ON), head=_kept_mean_flat_output),
    Network("end_kept_mean_two_ways", (ON, BAD), head=_kept_mean_two_ways),
    Network("end_kept_mean_logistic", (ON, BAD), head=_kept_mean_logistic),
    Network("end_dense_behind_kept_mean", (ON, BAD), head=_dense_behind_kept_mean),
    Network("d2s_mid", (ON, ON), middle=_d2s_mid),
    Network("end_d2s_and_mean", (ON, ON), head=_d2s_and_mean),
    Network("resize_from_corners", (ON, ON), middle=_resize_from_corners),
    Network("odd_channels", (ON, ON), width=27),
    Network("wide_maps", (ON, ON), size=61),
    Network("batch3", (ON, ON), batch=3, middle=lambda t, x: t.excite(x, logistic)),
    Network(
        "relu6_add",
        (ON, ON),
        middle=lambda t, x: t.binary("ADD", x, t.conv(t.dw(x), 64), act=RELU6),
    ),
    Network("half", (ON, ON), half=True),
    Network("half_beside_float_bias", (ON, BAD), half=True, mixed=True),
    Network("half_dws2_same", (BAD, BAD), half=True, middle=_same_everywhere),
    Network("half_all_same", (OFF, OFF), half=True, stem=_same_stem, middle=_same_everywhere),
    Network("tiny_maps", (ON, ON), size=8, middle=Trunk.down),
    Network("odd_maps", (ON, ON), size=37, middle=Trunk.down),
    Network("tiny_maps_5x5", (ON, ON), size=8, middle=lambda t, x: t.down(x, 5)),
)

LATER_LITERT = {"half_beside_float_bias": ON}
"""Verdicts of LiteRT 2.3.0 that are others than those of 2.1.6."""


def combinations(count: int, seed: int = 0) -> Iterator[Network]:
    """Draws networks with several changes at once; their `verdicts` are empty: ask the gate."""
    rng = np.random.default_rng(seed)
    stems = [network.stem for network in FAMILY if network.channels == 3]
    middles = [network.middle for network in FAMILY if network.middle is not _through]
    heads = [network.head for network in FAMILY]
    for number in range(count):
        pair = [middles[i] for i in rng.integers(0, len(middles), 2)]
        yield Network(
            f"combination_{number}",
            ("", ""),
            stem=stems[rng.integers(len(stems))] if rng.random() < 0.2 else Trunk.stem,
            middle=_chain(pair),
            head=heads[rng.integers(len(heads))] if rng.random() < 0.5 else _classifier,
            size=int(rng.integers(24, 45)),
        )


def _chain(parts: Sequence[Middle]) -> Middle:
    def middle(trunk: Trunk, x: int) -> int:
        for part in parts:
            x = part(trunk, x)
        return x

    return middle

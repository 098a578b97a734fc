"""Builds small .tflite networks in any number format, whose instructions are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.arrays import Array
from edgeprune.core.terms import Numerics
from edgeprune.tflite.format.draft import pack, raw_bytes
from edgeprune.tflite.metadata import HALVES_NAME

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}
_SCALE, _WEIGHT_SCALE = 0.05, 0.01
_OUTPUT_SCALES = {
    "LOGISTIC": (1 / 256, -128),
    "SOFTMAX": (1 / 256, -128),
    "TANH": (1 / 128, 0),
}
"""Scale and zero point of int8 outputs that kernels accept only so."""
_VERSIONS: dict[Numerics, dict[str, int]] = {
    "int8": {
        "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 3,
        "FULLY_CONNECTED": 4,
        "HARD_SWISH": 1,
        "ELU": 1,
        "RESHAPE": 1,
    },
    "dynamic-range": {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9},
}
_INT8_VERSION = 2


class ProbeNetwork:
    """A network under construction; every operator is appended to the last tensor."""

    def __init__(self, shape: Sequence[int], numerics: Numerics) -> None:
        self.numerics = numerics
        self.rng = np.random.default_rng(0)
        self.graph = schema.SubGraphT(tensors=[], operators=[], name=b"main")
        self.model = schema.ModelT(
            version=3,
            operatorCodes=[],
            subgraphs=[self.graph],
            description=b"probe",
            buffers=[schema.BufferT()],
            metadata=[],
            signatureDefs=[],
        )
        if numerics == "float16-arithmetic":
            buffer = self._buffer(np.frombuffer(b"fp16accfp16", np.uint8))
            self.model.metadata = [schema.MetadataT(name=HALVES_NAME.encode(), buffer=buffer)]
        self.shape = tuple(shape)
        self.current = self.activation(self.shape)
        self.graph.inputs = np.array([self.current], np.int32)

    def _buffer(self, data: Array) -> int:
        self.model.buffers.append(schema.BufferT(data=raw_bytes(data)))
        return len(self.model.buffers) - 1

    def _tensor(
        self,
        shape: Sequence[int],
        dtype: str,
        data: Array | None = None,
        scales: Sequence[float] = (),
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        quantization = None
        if scales:
            quantization = schema.QuantizationParametersT(
                scale=np.array(scales, np.float32),
                zeroPoint=np.full(len(scales), zero_point, np.int64),
                quantizedDimension=axis,
            )
        self.graph.tensors.append(
            schema.TensorT(
                shape=np.array(shape, np.int32),
                type=_TYPES[dtype],
                buffer=0 if data is None else self._buffer(data),
                name=b"t%d" % len(self.graph.tensors),
                quantization=quantization,
            )
        )
        return len(self.graph.tensors) - 1

    def activation(self, shape: Sequence[int], op: str = "") -> int:
        """Adds a tensor that is computed, in the network's number format."""
        if self.numerics != "int8":
            return self._tensor(shape, "float32")
        scale, zero_point = _OUTPUT_SCALES.get(op, (_SCALE, 0))
        return self._tensor(shape, "int8", None, [scale], zero_point)

    def constant(self, data: Array) -> int:
        """Adds a constant as it is."""
        return self._tensor(data.shape, data.dtype.name, data)

    def weights(self, values: Array, axis: int, *, per_channel: bool = True) -> list[int]:
        """Adds weights and a bias of zeros in the network's number format.

        Args:
          values: float weights in [-1, 1].
          axis: the one of outputs.
          per_channel: whether int8 weights have one scale for each output.
        """
        outputs = values.shape[axis]
        bias = np.zeros(outputs)
        match self.numerics:
            case "float32" | "float16":
                return [self.constant(each.astype(np.float32)) for each in (values, bias)]
            case "float16-arithmetic":
                return [self._restored(each.astype(np.float16)) for each in (values, bias)]
        scales = [_WEIGHT_SCALE] * (outputs if per_channel else 1)
        stored = np.round(values * 127).astype(np.int8)
        kernel = self._tensor(values.shape, "int8", stored, scales, axis=axis)
        if self.numerics == "dynamic-range":
            return [kernel, self.constant(bias.astype(np.float32))]
        products = [_SCALE * scale for scale in scales]
        return [kernel, self._tensor(bias.shape, "int32", bias.astype(np.int32), products)]

    def _restored(self, halves: Array) -> int:
        stored = self.constant(halves)
        restored = self._tensor(halves.shape, "float32")
        self._operator("DEQUANTIZE", [stored], restored, schema.DequantizeOptionsT())
        return restored

    def _operator(self, op: str, inputs: Sequence[int], output: int, options: Any) -> None:
        code = getattr(schema.BuiltinOperator, op)
        own = _VERSIONS.get(self.numerics, {})
        version = own.get(op, _INT8_VERSION if self.numerics == "int8" else 1)
        self.model.operatorCodes.append(schema.OperatorCodeT(min(code, 127), None, version, code))
        operator = schema.OperatorT(
            opcodeIndex=len(self.model.operatorCodes) - 1,
            inputs=np.array(inputs, np.int32),
            outputs=np.array([output], np.int32),
        )
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options
        self.graph.operators.append(operator)

    def append(
        self,
        op: str,
        options: Any = None,
        shape: Sequence[int] | None = None,
        others: Sequence[int] = (),
    ) -> None:
        """Adds an operator on the last tensor and others, to a shape; to the last one's if None."""
        self.shape = self.shape if shape is None else tuple(shape)
        output = self.activation(self.shape, op)
        self._operator(op, [self.current, *others], output, options)
        self.current = output

    def pad(self, amount: int) -> None:
        """Pads a map alike on all sides."""
        batch, height, width, channels = self.shape
        pads = self.constant(np.array([[0, 0], *[[amount] * 2] * 2, [0, 0]], np.int32))
        shape = (batch, height + 2 * amount, width + 2 * amount, channels)
        self.append("PAD", schema.PadOptionsT(), shape, [pads])

    def convolve(self, weights: Array, stride: int, *, same: bool = False) -> None:
        """Adds a convolution; depthwise if the weights `[n, h, w, c]` have n = 1 and c outputs."""
        batch, *sides, inputs = self.shape
        depthwise = weights.shape[0] == 1 and weights.shape[3] == inputs > 1
        channels = weights.shape[3] if depthwise else weights.shape[0]
        options: Any = (
            schema.DepthwiseConv2DOptionsT(depthMultiplier=1)
            if depthwise
            else schema.Conv2DOptionsT()
        )
        options.padding = schema.Padding.SAME if same else schema.Padding.VALID
        options.strideH = options.strideW = stride
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        missing = 0 if same else weights.shape[1] - 1
        rows, columns = (-(-(side - missing) // stride) for side in sides)
        others = self.weights(weights, 3 if depthwise else 0)
        op = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        self.append(op, options, (batch, rows, columns, channels), others)

    def connect(self, outputs: int) -> None:
        """Adds a FULLY_CONNECTED, with one scale for all weights."""
        options = schema.FullyConnectedOptionsT()
        options.asymmetricQuantizeInputs = self.numerics == "dynamic-range"
        weights = self.random(outputs, self.shape[-1])
        others = self.weights(weights, 0, per_channel=False)
        self.append("FULLY_CONNECTED", options, (*self.shape[:-1], outputs), others)

    def to_float(self) -> None:
        """Adds a DEQUANTIZE, behind which values are float32."""
        restored = self._tensor(self.shape, "float32")
        self._operator("DEQUANTIZE", [self.current], restored, schema.DequantizeOptionsT())
        self.current = restored

    def to_int8(self) -> None:
        """Adds a QUANTIZE, behind which values are int8."""
        stored = self._tensor(self.shape, "int8", None, [_SCALE])
        self._operator("QUANTIZE", [self.current], stored, schema.QuantizeOptionsT())
        self.current = stored

    def average(self, *, keep: bool = False) -> None:
        """Adds the average over a map."""
        batch, _, _, channels = self.shape
        axes = self.constant(np.array([1, 2], np.int32))
        shape = (batch, 1, 1, channels) if keep else (batch, channels)
        self.append("MEAN", schema.ReducerOptionsT(keepDims=keep), shape, [axes])

    def random(self, *shape: int) -> Array:
        """Weights without a zero."""
        return self.rng.uniform(0.1, 1, shape).astype(np.float32)

    def packed(self) -> bytes:
        """The file, with the last tensor as its output."""
        self.graph.outputs = np.array([self.current], np.int32)
        return bytes(pack(self.model))

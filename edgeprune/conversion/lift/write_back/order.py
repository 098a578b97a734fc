"""The order of weights in a file and in Keras, for each operator that has a device matrix."""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.core import device_matrix
from edgeprune.core.arrays import Array


@dataclass(frozen=True)
class KernelOrder:
    """How an operator reads the kernel of the layer that stands for it.

        CONV_2D, TRANSPOSE_CONV    [out, h, w, in]
        DEPTHWISE_CONV_2D          [1, h, w, out]
        FULLY_CONNECTED            [out, in]
        BATCH_MATMUL               [..., in, out], or [..., out, in] where it turns that round
        CONV_3D                    [d, h, w, in, out], as in Keras
        GATHER, EMBEDDING_LOOKUP   [rows, length], as in Keras

    `kind` is the layer's class name, and `transposed` whether the file has `[in, out]`.
    """

    op: str
    kind: str
    transposed: bool

    def to_file(self, kernel: Array, stored: tuple[int, ...]) -> Array:
        """A Keras kernel in the order of the file.

        Args:
          kernel: in Keras order.
          stored: the shape that the file has; its axes of length 1 and windows are kept.
        """
        if self.kind == "Embedding":
            return kernel.reshape(*kernel.shape[:1], *stored[1:-1], -1)
        if self.op == "CONV_3D":
            return kernel
        matrix = device_matrix.to_device(self.kind, kernel)
        if self.op == "DEPTHWISE_CONV_2D":
            return matrix.T.reshape(1, *stored[1:3], -1)
        if self.op in ("CONV_2D", "TRANSPOSE_CONV"):
            return matrix.reshape(len(matrix), *stored[1:3], -1)
        turned = matrix.T if self.transposed else matrix
        return turned.reshape(*(1,) * (len(stored) - 2), *turned.shape)

    def to_keras(self, values: Array, kernel: tuple[int, ...]) -> Array:
        """The way back.

        Args:
          values: in the order of the file.
          kernel: the shape of the Keras kernel.
        """
        if self.kind == "Embedding" or self.op == "CONV_3D":
            return values.reshape(kernel)
        out, in_ = device_matrix.device_shape(self.kind, kernel)
        turned = self.transposed or self.op == "DEPTHWISE_CONV_2D"
        matrix = values.reshape(in_, out).T if turned else values.reshape(out, in_)
        return device_matrix.to_keras(self.kind, matrix, kernel)

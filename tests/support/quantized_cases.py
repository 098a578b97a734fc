"""Files with one operator on quantized values, for tests of the lift; straight from the schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from tests.support.lift_cases import Array
from tests.support.tflite_builder import Net

Numbers = Literal["int8", "uint8", "int16"]
ZEROS = {"int8": -13, "uint8": 115, "int16": 0}
"""The number that stands for 0."""
STEPS = {"int8": 0.03, "uint8": 0.03, "int16": 1e-4}
"""Values from about -3.5 to 4.2, and to 3.3 for int16."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Weights, with a scale for each slice along an axis; uint8 has one for all, and a zero."""

    values: Array
    axis: int = 0


@dataclass(frozen=True, eq=False)
class Bias:
    """A bias `[out]` in steps of input times weights; it belongs to the kernel before it."""

    values: Array


Given: TypeAlias = Sequence[tuple[int, ...] | Array | Kernel | Bias | None]


def quantized(
    path: Path,
    op: str,
    given: Given,
    made: Sequence[tuple[int, ...]],
    options: Any = None,
    *,
    numbers: Numbers,
    step: float | None = None,
    zero: int | None = None,
    given_zero: int | None = None,
    version: int = 1,
    dtype: str | None = None,
) -> Path:
    """One operator.

    Args:
      path: of the file.
      op: its name.
      given: for each input a shape, a constant, or None where it is left out. Real constants are
        quantized, whole ones stay.
      made: the shapes of the outputs.
      options: its options.
      numbers: the type of all values.
      step: of the outputs; as of the inputs if None.
      zero: of the outputs; the one of `ZEROS` if None.
      given_zero: of the inputs, likewise.
      version: of the operator.
      dtype: of outputs that are not quantized.
    """
    net = _Net(numbers, ZEROS[numbers] if given_zero is None else given_zero)
    inputs = [net.input(number, each) for number, each in enumerate(given)]
    span: dict[str, Any] = {
        "scales": [step or STEPS[numbers]],
        "zero_point": ZEROS[numbers] if zero is None else zero,
    }
    outputs = [
        net.tensor(f"block/{op}", shape, dtype or numbers, **({} if dtype else span))
        for shape in made
    ]
    net.operator(op, inputs, outputs, version, options)
    return net.save(path, net.free, outputs)


class _Net(Net):
    def __init__(self, numbers: Numbers, zero: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.zero = zero
        self.free: list[int] = []
        self.kernel_scales: list[float] = []

    def input(self, number: int, given: tuple[int, ...] | Array | Kernel | Bias | None) -> int:
        name = f"in/{number}"
        if given is None:
            return -1
        if isinstance(given, tuple):
            span: dict[str, Any] = {"scales": [STEPS[self.numbers]], "zero_point": self.zero}
            self.free.append(self.tensor(name, given, self.numbers, **span))
            return self.free[-1]
        if isinstance(given, Kernel):
            return self.kernel(name, given)
        if isinstance(given, Bias):
            scales = [STEPS[self.numbers] * scale for scale in self.kernel_scales]
            wide = np.int64 if self.numbers == "int16" else np.int32
            stored = np.rint(given.values / np.array(scales)).astype(wide)
            return self.constant(name, stored, scales=scales)
        if given.dtype.kind != "f":
            return self.constant(name, given)
        step, zero = float(np.abs(given).max() / 100) or 1.0, ZEROS[self.numbers]
        stored = np.rint(given / step + zero).astype(self.numbers)
        return self.constant(name, stored, scales=[step], zero_point=zero)

    def kernel(self, name: str, kernel: Kernel) -> int:
        values = kernel.values
        if self.numbers == "uint8":
            self.kernel_scales = [float(np.abs(values).max() / 110)]
            stored = np.rint(values / self.kernel_scales[0] + 131).astype(np.uint8)
            return self.constant(name, stored, scales=self.kernel_scales, zero_point=131)
        others = tuple(axis for axis in range(values.ndim) if axis != kernel.axis)
        scale = np.abs(values).max(axis=others, keepdims=True) / 127
        self.kernel_scales = scale.reshape(-1).tolist()
        stored = np.rint(values / scale).astype(np.int8)
        return self.constant(name, stored, scales=self.kernel_scales, axis=kernel.axis)

"""Where a strided convolution's window lies on its input, whichever way the file pads.

A window of `k` taps with `before` zeros in front reads, for output i, input[2i - before] up to
input[2i - before + k - 1].
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeprune.tflite.format.graph import Operator, Subgraph

SAME, VALID = 0, 1
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True, eq=False)
class Window:
    """A convolution of stride 2 with the PAD in front of it, if it is the only reader.

    `source` is the tensor in front of both, `before` the zeros above and left of it, `size` its
    height and width, `made` those of the output, `kernel` those of the weights.
    """

    operator: Operator
    pad: Operator | None
    source: int
    before: tuple[int, int]
    size: tuple[int, int]
    made: tuple[int, int]
    kernel: tuple[int, int]

    def fits(self, kernel: int) -> bool:
        """Whether padding by half of `kernel` on every side makes as many outputs."""
        return all(
            (n + 2 * (kernel // 2) - kernel) // 2 + 1 == m
            for n, m in zip(self.size, self.made, strict=True)
        )


def window_of(main: Subgraph, operator: Operator) -> Window | None:
    """Returns the window of a convolution of stride 2; None for every other operator."""
    options = operator.options
    if operator.op not in CONVOLUTIONS or (options.strideH, options.strideW) != (2, 2):
        return None
    weights = main.constant_behind(operator.inputs[1])[0]
    plain = (options.dilationHFactor, options.dilationWFactor) == (1, 1)
    if weights is None or len(weights.shape) != 4 or not plain:
        return None
    kernel = (weights.shape[1], weights.shape[2])
    source, pad, before = operator.inputs[0], None, (0, 0)
    if options.padding == VALID:
        source, pad, before = _padded(main, operator)
    shape, made = main.tensors[source].shape, main.tensors[operator.outputs[0]].shape[1:3]
    size = (shape[1], shape[2])
    if options.padding == SAME:
        total = [max((m - 1) * 2 + k - n, 0) for n, m, k in zip(size, made, kernel, strict=True)]
        before = (total[0] // 2, total[1] // 2)
    return Window(operator, pad, source, before, size, (made[0], made[1]), kernel)


def _padded(main: Subgraph, operator: Operator) -> tuple[int, Operator | None, tuple[int, int]]:
    source = operator.inputs[0]
    pad = main.makers.get(source)
    alone = len(main.readers.get(source, ())) == 1 and source not in main.ends
    amounts = padding_amounts(main, pad) if pad is not None and alone else None
    if pad is None or amounts is None or amounts[0] != [0, 0] or amounts[3] != [0, 0]:
        return source, None, (0, 0)
    return pad.inputs[0], pad, (amounts[1][0], amounts[2][0])


def padding_amounts(main: Subgraph, operator: Operator) -> list[list[int]] | None:
    """Returns a PAD's zeros per axis, [before, after]; None where they are not known."""
    amounts = main.tensors[operator.inputs[1]] if operator.op == "PAD" else None
    values = None if amounts is None or amounts.shape != (4, 2) else amounts.values()
    return None if values is None else values.tolist()

"""How many bytes the Edge TPU stores a layer's parameters in: pure functions of the layer's shape.

Weights are stored as they are, in blocks of up to 64 outputs by 4 inputs with each output's bias in
front. So a zero costs what any other value costs, and what is counted is the padded shape.

Source: the parameters of 57 files that edgetpu_compiler made (google-coral/test_data at 104342d,
google-coral/edgetpu at 9ebaa5a, and their histories), decoded with `executable/executable.fbs` of
google-coral/libedgetpu; 51 of the 57 are met to the byte as a whole, all in these layers.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

StorageKind: TypeAlias = Literal["convolution", "depthwise", "dense"]

LANES = 64
"""Outputs of one block."""
BIAS_BYTES = 4
"""Per output, where the weights have one scale."""
SCALED_BIAS_BYTES = 12
"""Per output, where every output has its own scale."""
SCALED_LINEAR_BIAS_BYTES = 8
"""The same for a depthwise convolution without a fused activation."""
DENSE_INT8_BIAS_BYTES_16 = 8
"""What builds 16 take per output of a Dense layer of int8 with one scale.

Source: one published log, a Dense layer of 256 x 256 in 66.00 KiB."""


def align(count: int, multiple: int) -> int:
    """The next multiple that is not below `count`."""
    return -(-count // multiple) * multiple


def stored_outputs(outputs: int) -> int:
    """Outputs that a convolution or Dense layer is stored with.

    4 up to 4, then the next multiple of 16 up to 64, then the next multiple of 64: 8 are stored as
    16, 72 as 128. Seen at 1, 8, 12 to 64 and 72 to 1280 outputs; 2, 3 and 5 to 7 follow the rule.
    """
    if outputs <= 4:
        return 4 if outputs else 0
    return align(outputs, 16 if outputs <= LANES else LANES)


def stored_channels(kind: StorageKind, outputs: int) -> int:
    """Outputs that a layer of any kind is stored with; depthwise channels in fours."""
    return align(outputs, 4) if kind == "depthwise" else stored_outputs(outputs)


def most_outputs_in(stored: int) -> int:
    """The largest number of outputs that takes less room than `stored` of them; 0 if none does."""
    if stored <= 4:
        return 0
    if stored == 16:
        return 4
    return stored - (16 if stored <= LANES else LANES)


def parameter_bytes(
    kind: StorageKind,
    kernel: tuple[int, int],
    inputs: int,
    outputs: int,
    *,
    per_channel: bool,
    activation: bool = True,
) -> int:
    """Bytes that a layer's weights and biases take on the Edge TPU.

        convolution, dense  align64(stored_outputs(out) * (kh * kw * align4(in) + e))
        depthwise           align64(align4(out) * (4 * kh * kw + e))

    e is 4 with one scale for all weights and 12 with one per output; a depthwise convolution with
    one per output and no fused activation has 8.

    Args:
      kind: of the layer; a separable one is a depthwise and a convolution.
      kernel: height and width; (1, 1) for a Dense layer.
      inputs: channels that each output sees; not looked at for a depthwise convolution.
      outputs: channels that come out.
      per_channel: whether every output has its own scale.
      activation: whether an activation is fused into the operator.
    """
    area = kernel[0] * kernel[1]
    if kind == "depthwise":
        scaled = SCALED_BIAS_BYTES if activation else SCALED_LINEAR_BIAS_BYTES
        column = 4 * area + (scaled if per_channel else BIAS_BYTES)
    else:
        column = area * align(inputs, 4) + (SCALED_BIAS_BYTES if per_channel else BIAS_BYTES)
    return align(stored_channels(kind, outputs) * column, 64)


def flatten_bytes(shape: tuple[int, ...]) -> int:
    """Bytes that flattening a map costs; 0 where it costs nothing.

    With a channel count that is no multiple of 4, the values do not lie next to each other on the
    chip, and the compiler moves them by multiplying with an identity matrix, stored like a Dense
    layer: stored_outputs(n) * (h * w * align4(c) + 4).

    Args:
      shape: `[h, w, c]`, `[w, c]` or with leading ones, of the map that becomes one row.

    Source: edgetpu_compiler 14.1 streamed 23.40 MiB for flattening 180x27, whatever Dense layer
    followed (the formula: 23.397 MiB). Files in which the channels are a multiple of 4, or stay the
    last axis, do not have it. One exact case and two controls: a strong hint, not proof.
    """
    total, channels = 1, shape[-1] if shape else 1
    for size in shape:
        total *= size
    if channels % 4 == 0 or total == channels:
        return 0
    rows = total // channels
    return stored_outputs(total) * (rows * align(channels, 4) + BIAS_BYTES)


def constant_bytes(values: int) -> int:
    """Bytes that a constant operand of an elementwise operator takes; they are streamed, not kept.

    Source: the one constant decoded so far, 48x48x1 of a MUL in movenet, takes 2368 bytes: its 2304
    values and one block of 64 more, as if a bias followed them.
    """
    return align(values + BIAS_BYTES, 64)

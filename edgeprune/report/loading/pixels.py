"""Whether an input takes a picture, and what becomes of its pixels.

A manifest says how pixels are scaled where nothing else was asked for, also if the file was made of
samples that are no pixels, such as spectrograms. The range of a quantized input shows which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgeprune.core.data import InputSpec
from edgeprune.core.scaling import DEFAULT_SCALE, RAW, ChannelScale, ScaleBy
from edgeprune.tflite.format.graph import Tensor

QUANTIZED = ("int8", "uint8", "int16")
"""Types of inputs and outputs that may hold quantized values."""
COLOURS = 3
_CHANNELS = (1, COLOURS)
_NOTHING_SAID = "the file does not say"
_FROM_0_TO_1 = (0.0, 255.0)
_TOLERANCE = 0.2
"""Tolerance, as a part of the span of scaled pixels: few samples are seen in calibration, and
none need be black or white."""


@dataclass(frozen=True)
class Pixels:
    """What becomes of pixels from 0 to 255 before they are quantized."""

    by: ScaleBy
    assumed: str = ""
    """Why that is assumed; empty where the file says so."""
    direct: bool = False
    """Whether pixels are the input's numbers, as in files that say nothing of pixels of 8 bits."""


def pixels_of(tensor: Tensor, spec: InputSpec) -> Pixels | None:
    """What becomes of pixels for an input; None for one that takes no picture.

    Args:
      tensor: the input.
      spec: what is known of it, with the scale of the manifest.
    """
    if not _has_shape_of_picture(tensor):
        return None
    quantized = tensor.dtype in QUANTIZED and tensor.scales.size > 0
    if tensor.dtype == "uint8" and (spec.scale is None or not quantized):
        return Pixels(RAW, direct=True)
    if spec.scale not in (None, DEFAULT_SCALE) and _fits_channels(tensor, spec.scale):
        return Pixels(spec.scale or DEFAULT_SCALE)
    if not quantized:
        return Pixels(DEFAULT_SCALE, _NOTHING_SAID)
    return next(_by_range(tensor, spec), None)


def _has_shape_of_picture(tensor: Tensor) -> bool:
    """Whether it is `[1, height, width, 1 or 3]`, of numbers that pixels can become."""
    quantized = tensor.dtype in QUANTIZED and tensor.scales.size > 0
    takes = quantized or tensor.dtype in ("float32", "uint8")
    match tensor.shape:
        case (1, height, width, channels):
            return takes and channels in _CHANNELS and min(height, width) > 1
        case _:
            return False


def _fits_channels(tensor: Tensor, by: ScaleBy | None) -> bool:
    """Whether a scale is for so many channels; one scale for each fits coloured pictures alone."""
    return not isinstance(by, ChannelScale) or tensor.shape[-1] == len(by.mean)


def _by_range(tensor: Tensor, spec: InputSpec) -> Iterator[Pixels]:
    """The usual ways to scale pixels whose range is that of a quantized input."""
    info = np.iinfo(tensor.dtype)
    zero = int(tensor.zero_points[0]) if tensor.zero_points.size else 0
    low, high = ((end - zero) * float(tensor.scales[0]) for end in (info.min, info.max))
    for mean, std in (DEFAULT_SCALE, _FROM_0_TO_1, RAW):
        near = _TOLERANCE * 255 / std
        if abs(low + mean / std) <= near and abs(high - (255 - mean) / std) <= near:
            said = (mean, std) == spec.scale
            why = (
                _NOTHING_SAID if spec.scale is None else f"the input goes from {low:g} to {high:g}"
            )
            yield Pixels((mean, std), "" if said else why)

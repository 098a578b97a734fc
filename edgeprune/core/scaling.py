"""How uint8 values become the floats that a model takes: by one scale, or by one per channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from edgeprune.core.arrays import Array

CHANNELS = 3
"""Colour channels of what `ChannelScale` scales."""


@dataclass(frozen=True)
class ChannelScale:
    """Scales each channel of RGB images by itself, in the order of RGB or of BGR.

    The styles of `keras.applications` are of this form: "caffe" (BGR, means alone), "torch" (means
    and standard deviations) and "tf" (one scale for all).
    """

    mean: tuple[float, ...]
    """One per channel, in the order in which the model takes them."""
    std: tuple[float, ...]
    bgr: bool = False
    """Whether the model takes blue first."""
    name: str = ""
    """Where it comes from, such as `keras.applications.resnet50`; empty if that is not known."""

    @property
    def pair(self) -> tuple[float, float] | None:
        """Mean and standard deviation where all channels have the same, in the order of RGB."""
        alike = len({*self.mean}) == len({*self.std}) == 1 and not self.bgr
        return (self.mean[0], self.std[0]) if alike else None


ScaleBy: TypeAlias = "tuple[float, float] | ChannelScale"
"""Mean and standard deviation, by which x becomes `(x - mean) / std`, for all or by channel."""
Scale: TypeAlias = "ScaleBy | Literal['auto']"
"""What uint8 is scaled by; "auto" takes the scale of each input, see `InputSpec.scale`."""
DEFAULT_SCALE = (127.5, 127.5)
"""Mean and standard deviation that scale uint8 images to [-1, 1]."""
RAW = (0.0, 1.0)
"""Mean and standard deviation that leave values as they are."""


def scaled(array: Array, scale: ScaleBy) -> Array:
    """`(x - mean) / std` of an array as float32; with a `ChannelScale`, `[..., 3]` in RGB."""
    if isinstance(scale, ChannelScale):
        ordered = array[..., ::-1] if scale.bgr else array
        mean, std = (np.asarray(part, np.float32) for part in (scale.mean, scale.std))
        return np.asarray((ordered.astype(np.float32) - mean) / std)
    return np.asarray((array.astype(np.float32) - scale[0]) / scale[1])


def in_words(scale: ScaleBy) -> str:
    """What becomes of values, such as "become (x - 127.5) / 127.5"."""
    if scale == RAW:
        return "stay as they are"
    if not isinstance(scale, ChannelScale):
        return f"become (x - {scale[0]:g}) / {scale[1]:g}"
    if scale.pair is not None:
        return f"{in_words(scale.pair)}{_origin(scale)}"
    order = "BGR" if scale.bgr else "RGB"
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (scale.mean, scale.std))
    return f"become (x - [{mean}]) / [{std}] in the order {order}{_origin(scale)}"


def _origin(scale: ChannelScale) -> str:
    return f", as {scale.name} preprocesses" if scale.name else ""


def scale_to_json(scale: ScaleBy) -> list[Any]:
    """`[mean, std]`, or `[means, stds, "rgb" or "bgr"]`, as a manifest keeps it."""
    if not isinstance(scale, ChannelScale):
        return list(scale)
    if scale.pair is not None:
        return list(scale.pair)
    return [list(scale.mean), list(scale.std), "bgr" if scale.bgr else "rgb"]


def scale_from_json(found: object) -> ScaleBy | None:
    """The inverse of `scale_to_json`; None for anything that it does not write."""
    match found:
        case [(int() | float()) as mean, (int() | float()) as std] if _is_scale([mean], [std]):
            return (float(mean), float(std))
        case [list(mean), list(std), ("rgb" | "bgr") as order] if len(mean) == len(
            std
        ) == CHANNELS and _is_scale(mean, std):
            return ChannelScale(tuple(map(float, mean)), tuple(map(float, std)), order == "bgr")
        case _:
            return None


def _is_scale(means: Sequence[object], stds: Sequence[object]) -> bool:
    numbers = [part for part in (*means, *stds) if isinstance(part, int | float)]
    finite = len(numbers) == len(means) + len(stds) and bool(np.isfinite(numbers).all())
    return finite and all(std > 0 for std in numbers[len(means) :])

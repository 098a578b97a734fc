"""How the networks of `keras.applications` want their images, as scales by channel."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import keras
import numpy as np

from edgeprune.core.errors import InputError
from edgeprune.core.scaling import CHANNELS, ChannelScale
from edgeprune.core.spelling import suggestion

_PREFIX = "keras.applications."
_SHARED = "imagenet_utils"
"""What the modules share, which is for no network."""
_PROBES = ((0.0, 0.0, 0.0), (255.0, 0.0, 0.0), (0.0, 255.0, 0.0), (0.0, 0.0, 255.0))


def preprocessing_of(name: str) -> ChannelScale:
    """What the `preprocess_input` of a module does with images of 0 to 255, found by running it.

    Args:
      name: a module of `keras.applications`, such as `keras.applications.resnet50`, or one of its
        networks (`ResNet50`), with or without that in front.

    Raises:
      InputError: there is none of that name, or it does more than to scale channels.
    """
    modules = _modules()
    short = name.removeprefix(_PREFIX)
    found = modules.get(short) or modules.get(short.lower()) or _module_with(modules, short)
    if found is None:
        raise InputError(
            f"--preprocess: expected a module of keras.applications, one of "
            f"{', '.join(sorted(modules))}. Received: '{name}'.{suggestion(short, modules)}"
        )
    return _measured(found, f"{_PREFIX}{found.__name__.rpartition('.')[2]}")


def _modules() -> dict[str, ModuleType]:
    """The modules that preprocess for networks, by their short name."""
    return {
        name: part
        for name, part in vars(keras.applications).items()
        if isinstance(part, ModuleType) and hasattr(part, "preprocess_input") and name != _SHARED
    }


def _networks(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if name[:1].isupper()]


def _module_with(modules: dict[str, ModuleType], network: str) -> ModuleType | None:
    return next((part for part in modules.values() if network in _networks(part)), None)


def _measured(module: Any, name: str) -> ChannelScale:
    """The scale by channel that a function applies: what it adds from what it makes of zeros."""
    made = np.stack([_run(module, [probe])[0] for probe in _PROBES])
    change = made[1:] - made[0]
    sources = np.abs(change).argmax(0)
    slopes = change[sources, np.arange(CHANNELS)] / 255.0
    scale = ChannelScale(
        tuple((-made[0] / slopes).tolist()),
        tuple((1 / slopes).tolist()),
        bgr=bool((sources == [2, 1, 0]).all()),
        name=name,
    )
    return _rounded(scale)


def _run(module: Any, pixels: Any) -> Any:
    images = np.asarray(pixels, np.float32).reshape(1, 1, -1, CHANNELS)
    return np.asarray(module.preprocess_input(images, data_format="channels_last"))[0, 0]


def _rounded(scale: ChannelScale) -> ChannelScale:
    """Without the errors of float32, which would tell equal channels apart."""
    mean, std = (
        tuple(float(f"{value:.6g}") + 0.0 for value in part) for part in (scale.mean, scale.std)
    )
    return ChannelScale(mean, std, scale.bgr, scale.name)

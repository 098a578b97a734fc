"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

from collections.abc import Callable

import keras

from edgeprune.conversion.lift.layers import LegacyResize
from edgeprune.conversion.lift.site import BlockedError, KerasTensor, Site


def resize(method: str) -> Callable[[Site], KerasTensor]:
    """The entry of a resize, "bilinear" or "nearest"."""

    def lift(site: Site) -> KerasTensor:
        shape, size = site.shape(0), site.numbers(1, "size")
        if len(shape) != 4 or len(size) != 2 or min(size) < 1:
            raise BlockedError(f"it resizes {list(shape)} to {size}")
        corners = bool(site.options.alignCorners)
        centers = bool(site.options.halfPixelCenters)
        whole = size[0] % shape[1] == 0 and size[1] % shape[2] == 0
        if whole and not corners and (method == "nearest" or centers):
            factors = (size[0] // shape[1], size[1] // shape[2])
            layer = keras.layers.UpSampling2D(factors, interpolation=method, name=site.name)
        else:
            layer = LegacyResize(
                size, method, align_corners=corners, half_pixel_centers=centers, name=site.name
            )
            site.hold(layer, 1)
        return site.apply(layer, site.tensor(0))

    return lift

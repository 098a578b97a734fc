"""PAD, PADV2 and MIRROR_PAD."""

from __future__ import annotations

from typing import Any

import keras

from edgeprune.conversion.lift.layers import ChannelPad
from edgeprune.conversion.lift.operators.pool_padding import border_of
from edgeprune.conversion.lift.site import BatchNeededError, BlockedError, KerasTensor, Site

_REFLECT = 0
Pads = list[tuple[int, int]]


def pad(site: Site) -> KerasTensor:
    """PAD and PADV2: layers for zeros around rows and columns, and for channels behind."""
    pads = _pads(site)
    value = _value(site)
    given = site.tensor(0)
    border = border_of(site, pads, value)
    if border == "mirrored":
        return site.compute("", keras.ops.pad, given, pads, mode="symmetric")
    value = 0.0 if border == "zeros" else value
    inner, last = pads[1:-1], pads[-1]
    channels = len(pads) in (3, 4) and any(last)
    around = any(map(any, inner))
    if len(pads) not in (3, 4) or any(pads[0]) or (around and value):
        return site.compute("", keras.ops.pad, given, pads, constant_values=value)
    if around:
        kind = keras.layers.ZeroPadding2D if len(inner) == 2 else keras.layers.ZeroPadding1D
        name = site.new_name("around") if channels else site.name
        layer = kind(tuple(inner) if len(inner) == 2 else inner[0], name=name)
        site.hold(layer, 1)
        given = site.apply(layer, given)
    if not channels:
        return given
    layer = ChannelPad(*last, value, name=site.name)
    site.hold(layer, 1)
    return site.apply(layer, given)


def _pads(site: Site) -> Pads:
    rows = site.needed(1, "pads").astype(int)
    if rows.shape != (len(site.shape(0)), 2) or (rows < 0).any() or not rows.size:
        raise BlockedError(f"its pads {rows.tolist()} do not fit {list(site.shape(0))}")
    if rows[0].any() and not site.whole:
        raise BatchNeededError
    return [(before, after) for before, after in rows.tolist()]


def _value(site: Site) -> float:
    if site.count < 3:
        return 0.0
    return float(site.needed(2, "value").reshape(-1)[0])


def mirror_pad(site: Site) -> Any:
    """MIRROR_PAD: the border repeated or not."""
    mode = "reflect" if site.options.mode == _REFLECT else "symmetric"
    return site.compute("", keras.ops.pad, site.tensor(0), _pads(site), mode=mode)

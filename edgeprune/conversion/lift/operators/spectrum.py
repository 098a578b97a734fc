"""RFFT2D of sequences, and what leads from complex numbers back to real ones."""

from __future__ import annotations

from typing import Any

import keras

from edgeprune.conversion.lift.site import BlockedError, Live, Site


def real_spectrum(site: Site) -> Live:
    """RFFT2D over one row: `[..., 1, samples]` to complex `[..., 1, length // 2 + 1]`."""
    shape, lengths = site.shape(0), site.numbers(1, "length")
    if len(shape) < 3 or shape[-2] != 1 or len(lengths) != 2 or lengths[0] != 1:
        raise BlockedError(f"it transforms rows too: {lengths} of {list(shape)}")
    real, imaginary = site.compute("", keras.ops.rfft, site.tensor(0), fft_length=lengths[1])
    return Live(real, (*shape[:-1], lengths[1] // 2 + 1), imaginary)


def real_part(site: Site) -> Live:
    """REAL, and CAST of complex numbers to real ones."""
    live = site.value(0)
    return Live(live.tensor, live.shape)


def imaginary_part(site: Site) -> Live:
    """IMAG."""
    live = site.value(0)
    if live.imaginary is None:
        raise BlockedError("its input is real")
    return Live(live.imaginary, live.shape)


def complex_abs(site: Site) -> Any:
    """COMPLEX_ABS: the lengths of complex numbers."""
    live = site.value(0)
    if live.imaginary is None:
        raise BlockedError("its input is real")
    squares = [
        site.compute(name, keras.ops.square, part)
        for name, part in (("real", live.tensor), ("imaginary", live.imaginary))
    ]
    total = site.compute("squared", keras.ops.add, *squares)
    return site.compute("", keras.ops.sqrt, total)

"""Whether a network's parameters stay on the Edge TPU or are streamed for every inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeprune.targets.edgetpu_model.estimate import Estimate

MIB = 1 << 20
SURE_BYTES = 5.5 * MIB
"""Up to here parameters fit beside the feature maps of an input of up to `SURE_PIXELS`.

Source: what published compiler logs report as used and remaining memory: 6.08 to 7.98 MiB for most
networks, 1.09 and 1.92 MiB for two with large feature maps. Every network of google-coral/test_data
and google-coral/edgetpu that was decoded is kept whole, the largest of 3,900,864 bytes at 224x224.
"""
SURE_PIXELS = 320 * 320

MS_PER_MIB = {"USB": 3.3, "PCIe": 2.67}
"""Milliseconds that streaming adds, per MiB.

Source: SPARTA (LAAS, 2026), which fitted the latency law C + k * streamed bytes to measured chips.
"""

FitState = Literal["fits", "may stream", "streams"]


@dataclass(frozen=True)
class ChipFit:
    """Whether the parameters stay on the chip, with the bytes that are streamed at least."""

    state: FitState
    message: str
    cached_bytes: int
    streamed_bytes: int


def chip_fit(estimate: Estimate, on_chip_bytes: int | None) -> ChipFit:
    """Judges whether parameters fit.

    How much room feature maps leave cannot be told from the file, so only the ends are sure.

    Args:
      estimate: of the network.
      on_chip_bytes: the most that parameters can have; None if that is not known.
    """
    kept, always = estimate.kept_bytes, estimate.streamed_bytes
    if on_chip_bytes is not None and kept > on_chip_bytes:
        over = kept - on_chip_bytes
        message = (
            f"{kept} bytes of parameters, {over} more than the chip can keep: at least so many are "
            f"streamed for every inference ({streaming_time(over)}). Remove channels until "
            f"{on_chip_bytes} bytes are left, better {int(SURE_BYTES)}"
        )
        return ChipFit("streams", message, on_chip_bytes, over + always)
    small = kept <= min(SURE_BYTES, on_chip_bytes or SURE_BYTES)
    if small and estimate.pixels <= SURE_PIXELS:
        return ChipFit("fits", f"{kept} bytes of parameters stay on the chip", kept, always)
    why = (
        "an input above 320x320 has feature maps that take some of the same memory"
        if small
        else f"feature maps share the memory, and only {int(SURE_BYTES)} bytes are sure to fit"
    )
    message = f"{kept} bytes of parameters may be streamed in part: {why}"
    return ChipFit("may stream", message, kept, always)


def streaming_time(streamed: int) -> str:
    """What streaming costs by SPARTA's latency law, in words that say what it is."""
    parts = " and ".join(
        f"{rate * streamed / MIB:.2g} ms over {bus}" for bus, rate in MS_PER_MIB.items()
    )
    return f"about {parts}, an estimate by SPARTA's law C + k * bytes, not measured here"

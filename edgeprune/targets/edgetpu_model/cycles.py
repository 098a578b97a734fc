"""The compiler's own cycle estimate, as a formula.

Builds of edgetpu_compiler up to 2020-07 wrote an estimate into the file. It follows the tiles of a
4x4 array over the map and steps with every 16 outputs of a convolution, every 64 channels of a
depthwise one. It is an estimate of an estimate: no time was measured, and it does not convert to
milliseconds (its peak of 1024 products per cycle is not the chip's).

Source: the estimates of 12 networks in google-coral/edgetpu. Met within 2 % for MobileNetV1 and
MobileNet EdgeTPU, 16 to 30 % below for MobileNetV2 and DeepLab, whose large maps are split. Pools
count like a depthwise convolution of their window and ADD like one of 1x1; both are small.
"""

from __future__ import annotations

from edgeprune.targets.edgetpu_model.storage import StorageKind


def estimated_cycles(
    kind: StorageKind, made: tuple[int, int], kernel: tuple[int, int], inputs: int, outputs: int
) -> int:
    """Cycles that the compiler would have estimated for one layer.

        convolution, dense  ceil(h/4) * ceil(w/4) * kh * kw * ceil(in/4) * ceil(out/16)
        depthwise           ceil(h/4) * ceil(w/4) * kh * kw * ceil(out/64)

    Args:
      kind: of the layer.
      made: height and width of the map that comes out; (1, 1) for a Dense layer.
      kernel: height and width.
      inputs: channels that each output sees; not looked at for a depthwise convolution.
      outputs: channels that come out.
    """
    steps = _tiles(made[0], 4) * _tiles(made[1], 4) * kernel[0] * kernel[1]
    if kind == "depthwise":
        return steps * _tiles(outputs, 64)
    return steps * _tiles(inputs, 4) * _tiles(outputs, 16)


def _tiles(count: int, size: int) -> int:
    return -(-count // size)

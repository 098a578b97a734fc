"""Builds the small networks whose instruction counts tell what each kernel costs.

Every probe is a stem, layers, and the mean that ends a network in XNNPACK's sparse mode. Sparse
weights are stored as `edgeprune encode` stores them, so that the kernels counted are those that a
pruned network meets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprune.core.mask import make_mask
from edgeprune.core.pattern import Block
from edgeprune.targets.arm64_emulated.probe_network import ProbeNetwork
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file

_ENCODING = EncodingRules(sparse_networks=True)


@dataclass(frozen=True)
class PointwiseProbe:
    """A 1x1 convolution to `outputs` channels, with a fraction of zeros in blocks of outputs."""

    outputs: int
    sparsity: float = 0.0
    block: int = 1


@dataclass(frozen=True)
class DepthwiseProbe:
    """A depthwise convolution that pads alike on all sides."""

    kernel: int
    stride: int = 1


@dataclass(frozen=True)
class Probe:
    """A network: the height and width behind its stem, the stem's channels, and its layers."""

    height: int
    width: int
    channels: int
    layers: tuple[PointwiseProbe | DepthwiseProbe, ...]

    def write(self, path: Path, *, sparse: bool) -> Path:
        """Writes the network as a .tflite file; with `sparse`, for the sparse kernels."""
        path.write_bytes(_build(self))
        if sparse:
            encode_file(path, _ENCODING, path)
        return path


def _build(probe: Probe) -> bytes:
    net = ProbeNetwork((1, 2 * probe.height, 2 * probe.width, 3), "float32")
    net.pad(1)
    net.convolve(net.random(probe.channels, 3, 3, 3), 2)
    for layer in probe.layers:
        channels = net.shape[3]
        match layer:
            case DepthwiseProbe(kernel, stride):
                net.pad(kernel // 2)
                net.convolve(net.random(1, kernel, kernel, channels), stride)
            case PointwiseProbe(outputs, sparsity, block):
                scores = net.rng.uniform(size=(outputs, channels)).astype(np.float32)
                kept = make_mask(scores, Block(block, 1), sparsity)
                weights = net.random(outputs, channels) * kept
                net.convolve(weights.astype(np.float32).reshape(outputs, 1, 1, channels), 1)
    net.average()
    return net.packed()

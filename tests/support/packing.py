"""Small int8 files with zeros for TFLite Micro's DECODE, and how they are packed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.decode.pack import pack_weights
from edgeprune.tflite.decode.weights import weights_to_pack
from edgeprune.tflite.format.draft import load, write
from tests.support.small_nets import chain
from tests.support.tflite_builder import Array, Net, prune


def sparse_weights(shape: Sequence[int], sparsity: float, seed: int = 0) -> Array:
    """int8 weights, none of which is zero by itself."""
    generator = np.random.default_rng(seed)
    values = generator.integers(1, 100, shape) * generator.choice([-1, 1], shape)
    return prune(values.astype(np.int8), sparsity, [1] * len(shape), seed)


def mixed_net(path: Path) -> Path:
    """Convolutions `w0` and `w2` with zeros that pay, and a small depthwise one in between."""
    layers = [
        ("CONV_2D", sparse_weights((32, 3, 3, 8), 0.8, 1)),
        ("DEPTHWISE_CONV_2D", sparse_weights((1, 3, 3, 32), 0.3, 2)),
        ("CONV_2D", sparse_weights((48, 1, 1, 32), 0.8, 3)),
    ]
    return lively(chain(path, layers, size=8))


def lively(path: Path) -> Path:
    """Makes the steps of every `layer_N` of `chain` finer, since sparse layers add less up."""
    draft = load(path)
    for tensor in draft.model.subgraphs[0].tensors:
        name, _, number = tensor.name.decode().partition("_")
        if name == "layer":
            tensor.quantization.scale = tensor.quantization.scale * 0.3 ** (int(number) + 1)
    write(draft, path)
    return path


def twice_read(path: Path, size: int = 64) -> Path:
    """Two FULLY_CONNECTED that read the same weights, with a zero point of 5."""
    net = Net()
    x = net.tensor("x", (1, size), "int8", scales=[0.02])
    values = np.where(sparse_weights((size, size), 0.8) == 0, 5, -7).astype(np.int8)
    w = net.constant("w", values, scales=[0.01], zero_point=5)
    y = net.tensor("y", (1, size), "int8", scales=[0.01])
    z = net.tensor("z", (1, size), "int8", scales=[0.004])
    for source, made in ((x, y), (y, z)):
        options = schema.FullyConnectedOptionsT()
        net.operator("FULLY_CONNECTED", [source, w, -1], [made], 4, options)
    return net.save(path, [x], [z])


def packed(source: Path, output: Path) -> Path:
    """Writes a file with every weight packed that becomes smaller."""
    draft = load(source)
    pack_weights(draft, [w for w in weights_to_pack(draft.graph) if not w.refusal])
    write(draft, output)
    return output

"""What packing zeros is expected to save in flash, before anything is exported; pure."""

from __future__ import annotations

import math

from edgeprune.core.pattern import Unstructured
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.core.plan_verdict import Expected
from edgeprune.profiles.facts import Packing
from edgeprune.tflite.decode.weights import OVERHEAD_BYTES
from edgeprune.tflite.format.packed_tensor import packed_bytes


def bytes_packed(weights: int, sparsity: float) -> int:
    """Bytes of int8 weights of one layer in the file, packed, with what packing adds to it."""
    return packed_bytes(weights, round(weights * (1 - sparsity))) + OVERHEAD_BYTES


def too_few_to_pack(weights: int, sparsity: float) -> str:
    """Why a layer is not worth zeros that are packed; empty if it is."""
    packed = bytes_packed(weights, sparsity)
    if packed < weights:
        return ""
    return f"{weights} weights take {packed} bytes when packed at {sparsity:.0%} zeros, no fewer"


def too_large_to_unpack(weights: int, arena_bytes: int | None) -> str:
    """Why a layer's unpacked weights fit into no arena of that size; empty if they may."""
    if arena_bytes is None or weights <= arena_bytes:
        return ""
    return f"{weights} bytes of unpacked weights do not fit into an arena of {arena_bytes}"


def pays_from(sparsity: float, code_bytes: int) -> int | None:
    """From how many int8 weights, in one layer, packing saves more than the code takes.

    None where the bits of the mask alone take as much as the zeros save.
    """
    fixed = packed_bytes(0, 0)
    saved = sparsity - (packed_bytes(1 << 20, 0) - fixed) / (1 << 20)
    return math.ceil((code_bytes + OVERHEAD_BYTES + fixed) / saved) if saved > 0 else None


def expect_packed(made: Plan, packing: Packing) -> Expected | None:
    """The flash of a plan's int8 weights, plain, and packed with the code that unpacks them.

    None where nothing is pruned.
    """
    if not made.pruned:
        return None
    code = packing.code_bytes.value
    plain = sum(row.weights for row in made.layers)
    packed = sum(map(_bytes_of, made.layers))
    words = "the code that unpacks them is not counted, since it is not known"
    if code is not None:
        sparsity = max(row.sparsity for row in made.pruned)
        least = pays_from(sparsity, code)
        words = f"{code} bytes of code that unpacks them counted ({packing.code_bytes.source})"
        if least is not None:
            words += f"; pays from about {least:,} weights at {sparsity:.0%} zeros"
    return Expected(
        unit="bytes of flash",
        dense=plain,
        pruned=packed + (code or 0),
        source=f"int8 weights alone, {words}; unpacking takes up to "
        f"{max(row.weights for row in made.pruned)} bytes of arena",
    )


def _bytes_of(row: LayerPlan) -> int:
    if not isinstance(row.pattern, Unstructured):
        return row.weights
    return min(row.weights, bytes_packed(row.weights, row.sparsity))

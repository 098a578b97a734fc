"""The child process that chooses between int8 files of one model and mends one of them.

    python -m edgeprune.conversion.int8.mend_worker FOLDER

FOLDER holds int8 files int80.tflite, int81.tflite, ..., the float files that they are made of,
float0.tflite, ..., of which the first is the model's own, and samples.npz, by the input's name in
the signature. It gets result.json and mended.tflite, the file to go on with:

    candidates: errors of the outputs of the int8 files as they are, see `output_error`
    chosen:     the number of the one with the least
    biases:     the same error with corrected biases; null where there is no layer to mend
    rounding:   with weights rounded by what layers give, and corrected biases
    mended:     "biases" or "rounding", whichever is nearest; null for the file as it was
    layers:     [{"layer": the tensor that it gives, "snr_db": float or null}, ...]
Every second sample estimates, the others are held back: all errors are theirs.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.conversion.int8.layers import find_layers, with_own_biases
from edgeprune.conversion.int8.refine import refine_all, signals
from edgeprune.conversion.int8.segments import real, run_part, stored
from edgeprune.conversion.same_padding import write_out_padding
from edgeprune.core.arrays import Array
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.signature import input_ports, output_ports

MOST_SAMPLES = 64
"""Samples that layers are mended by, at most, and as many that are held back."""
_FEWEST_SAMPLES = 16
"""As many are taken however large the values are."""
_MOST_BYTES = 2**30
"""Memory for the values between layers; where they are large, fewer samples are taken."""
_HEARD = 16
"""Samples by which the noise of every layer is measured."""


def output_error(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """Squared error over the square of what is wanted, the mean over all outputs."""
    pairs = zip(found, wanted, strict=True)
    return float(np.mean([np.sum((a - b) ** 2) / max(np.sum(b**2), 1e-30) for a, b in pairs]))


def halves(count: int, most: int = MOST_SAMPLES) -> tuple[Array, Array]:
    """Rows of samples spread over all: every second one, and those between; `most` of each."""
    rows = np.linspace(0, count - 1, min(count, 2 * most)).astype(int)
    return rows[::2], rows[1::2]


def most_samples(floating: Draft) -> int:
    """How many samples may run at a time: an input and an output of the largest size are held, in
    float32 and of two int8 files."""
    largest = max(
        math.prod(tensor.shape) for tensor in floating.graph.tensors if not tensor.constant
    )
    fitting = _MOST_BYTES // (2 * (4 + 1 + 1) * max(largest, 1))
    return min(MOST_SAMPLES, max(_FEWEST_SAMPLES, fitting))


def outputs_of(draft: Draft, samples: Mapping[str, Array], *, delegates: bool) -> list[Array]:
    """The outputs of a file in the order of their names, `[n, ...]` of real numbers."""
    tensors, ports = draft.graph.tensors, input_ports(draft.graph)
    given = {port.tensor: stored(tensors[port.tensor], samples[port.name]) for port in ports}
    inputs = [given[index] for index in draft.graph.inputs]
    content = bytes(tflite_draft.pack(draft.model))
    found = run_part(content, inputs, len(inputs[0]), runtime="LiteRT", delegates=delegates)
    made = dict(zip(draft.graph.outputs, found, strict=True))
    named = sorted(output_ports(draft.graph), key=lambda port: port.name)
    return [real(tensors[p.tensor], made[p.tensor]).astype(np.float64) for p in named]


def mend(
    floats: Sequence[Draft], candidates: Sequence[Draft], samples: Mapping[str, Array]
) -> tuple[Draft, dict[str, Any]]:
    """The file to go on with, and what the result says."""
    floating = floats[0]
    fit, held = halves(min(map(len, samples.values())), most_samples(floating))
    judged = {name: array[held] for name, array in samples.items()}
    wanted = outputs_of(floating, judged, delegates=True)

    def error(draft: Draft) -> float:
        return output_error(outputs_of(draft, judged, delegates=False), wanted)

    errors = [error(draft) for draft in candidates]
    chosen = int(np.argmin([e if math.isfinite(e) else math.inf for e in errors]))
    best, facts = candidates[chosen], {"candidates": errors, "chosen": chosen}
    floating = floats[chosen]
    own = {key: with_own_biases(tflite_draft.reread(best), floating.graph) for key in (False, True)}
    if not find_layers(own[False], floating.graph):
        return best, {**facts, "biases": None, "rounding": None, "mended": None, "layers": []}
    refine_all(own, floating, {name: array[fit] for name, array in samples.items()})
    found = {"biases": own[False], "rounding": own[True]}
    mended = {key: error(draft) for key, draft in found.items()}
    nearest = min(mended, key=lambda key: (not math.isfinite(mended[key]), mended[key]))
    better = mended[nearest] < errors[chosen]
    final = tflite_draft.reread(found[nearest]) if better else best
    heard = {name: array[:_HEARD] for name, array in judged.items()}
    # Layers are found by their biases, which a file has of its own once it is mended.
    listened = final if better else with_own_biases(tflite_draft.reread(best), floating.graph)
    rows = [
        {"layer": layer.output.name, "tensor": layer.output.index, "snr_db": snr}
        for layer, snr in signals(listened, floating, heard)
    ]
    return final, {**facts, **mended, "mended": nearest if better else None, "layers": rows}


def main(folder: Path) -> None:
    """Mends what a folder holds and leaves the result there."""
    with np.load(folder / "samples.npz") as archive:
        samples = dict(archive)
    count = len(list(folder.glob("int8*.tflite")))
    floats, candidates = (
        [tflite_draft.load(folder / f"{kind}{number}.tflite") for number in range(count)]
        for kind in ("float", "int8")
    )
    final, facts = mend(list(map(write_out_padding, floats)), candidates, samples)
    (folder / "mended.tflite").write_bytes(tflite_draft.pack(final.model))
    (folder / "result.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

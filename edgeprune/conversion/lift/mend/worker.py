"""The child process that mends a pruned quantized file, since runtimes may crash.

    python -m edgeprune.conversion.lift.mend.worker FOLDER

FOLDER holds given.tflite, the file before it was pruned; pruned.tflite; job.json with
    ways:   as `propose.proposals` gives them, `[[tensors, low, high], ...]` for each
and job.npz with
    x:NAME        samples, by the input's name in the signature; every second one estimates, the
                  others judge
    sums:TENSOR, weights:TENSOR
                  of the layer that gives a tensor, see `layers.MendedLayer`
It gets mended.tflite, where something was kept, and result.json:
    before:   error of the outputs against those of the given file, on samples that judge
    ranges, biases, rounding
              the error with other ranges, with corrected biases too, and with rounded weights and
              corrected biases; null where there was nothing to try
    changed:  what was kept of the ways
    mended:   "biases" or "rounding"; null for neither
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.conversion.int8.mend_worker import outputs_of
from edgeprune.conversion.int8.ranges import Range
from edgeprune.conversion.int8.refine import stream_of
from edgeprune.conversion.lift.mend.choose import (
    best_parts,
    is_better,
    judging_outputs,
    sample_errors,
)
from edgeprune.conversion.lift.mend.layers import MendedLayer, mend_layers
from edgeprune.conversion.lift.mend.rescale import Proposal, rescaled
from edgeprune.core.arrays import Array
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft

Samples = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares outputs with those of the given file, on samples that are held back."""

    given: Draft
    samples: Samples

    @cached_property
    def _wanted(self) -> list[Array]:
        return self._made_by(self.given)

    def _made_by(self, draft: Draft) -> list[Array]:
        found = outputs_of(draft, self.samples, delegates=False)
        return [found[place] for place in judging_outputs(self.given.graph)]

    def errors(self, draft: Draft) -> Array:
        """`[n]`, see `choose.sample_errors`."""
        return sample_errors(self._made_by(draft), self._wanted)


def mend(
    given: Draft,
    pruned: bytes,
    ways: Sequence[Sequence[Proposal]],
    layers: Mapping[int, MendedLayer],
    samples: Samples,
) -> tuple[bytes | None, dict[str, Any]]:
    """The mended file, None where nothing is better; and what the result says."""
    judge = Judge(given, {name: array[1::2] for name, array in samples.items()})
    fit = {name: array[::2] for name, array in samples.items()}
    before = judge.errors(_opened(pruned))
    parts, best = _best_ranges(judge, pruned, ways, before)
    content = _packed(_with_ranges(pruned, parts)) if parts else None
    facts: dict[str, Any] = {
        "before": float(before.mean()),
        "ranges": float(best.mean()) if ways else None,
        "changed": [[list(group), ends.low, ends.high] for group, ends in parts],
        "mended": None,
    }
    tried: dict[str, tuple[Array, Draft]] = {}
    for name, rounding in (("biases", False), ("rounding", True)) if layers else ():
        draft = _opened(content or pruned)
        mend_layers(stream_of(draft, fit, delegates=False), layers, rounding=rounding)
        tried[name] = judge.errors(draft), draft
        facts[name] = float(tried[name][0].mean())
    nearest = min(tried, key=lambda name: (not math.isfinite(facts[name]), facts[name]), default="")
    if nearest and is_better(tried[nearest][0], best):
        content, facts["mended"] = _packed(tried[nearest][1]), nearest
    return content, facts


def _opened(content: bytes) -> Draft:
    return tflite_draft.from_bytes(content, Path("pruned.tflite"))


def _packed(draft: Draft) -> bytes:
    return bytes(tflite_draft.pack(draft.model))


def _with_ranges(pruned: bytes, parts: Sequence[Proposal]) -> Draft:
    return rescaled(_opened(pruned), {index: ends for group, ends in parts for index in group})


def _best_ranges(
    judge: Judge, pruned: bytes, ways: Sequence[Sequence[Proposal]], before: Array
) -> tuple[list[Proposal], Array]:
    """The parts of the way that comes nearest as a whole; none where no part is better."""

    def measure(parts: Sequence[Proposal]) -> Array:
        try:
            return judge.errors(_with_ranges(pruned, parts))
        except (ValueError, RuntimeError):  # steps that a runtime, or a bias, cannot take
            return np.full(len(before), np.inf)

    if not ways:
        return [], before
    nearest = min(ways, key=lambda way: float(measure(way).mean()))
    return best_parts(nearest, before, measure)


def main(folder: Path) -> None:
    """Mends what a folder holds and leaves the result there."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "job.npz") as archive:
        arrays = dict(archive)
    of = {
        kind: {key.partition(":")[2]: a for key, a in arrays.items() if key.startswith(f"{kind}:")}
        for kind in ("x", "sums", "weights")
    }
    layers = {
        int(key): MendedLayer(sums, of["weights"].get(key)) for key, sums in of["sums"].items()
    }
    ways = [[(tuple(group), Range(low, high)) for group, low, high in way] for way in job["ways"]]
    given = tflite_draft.load(folder / "given.tflite")
    pruned = (folder / "pruned.tflite").read_bytes()
    content, facts = mend(given, pruned, ways, layers, of["x"])
    if content is not None:
        (folder / "mended.tflite").write_bytes(content)
    (folder / "result.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Mends an int8 file by calibration samples, where that brings its outputs nearer to the model.

What is tried, each kept only where it lowers the error of the outputs on samples that are held
back: ranges by error instead of the extremes or channels made alike in size, then biases corrected,
then weights rounded by what their layer gives.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.conversion.int8.candidates import Candidate, Kind, comparable
from edgeprune.conversion.int8.child import launcher
from edgeprune.core.arrays import Array
from edgeprune.core.layer_noise import LayerNoise, noisiest
from edgeprune.targets.child import WorkerError, run_child
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.draft import Draft
from edgeprune.tflite.format.signature import output_ports

FEWEST_SAMPLES = 64
"""With fewer, half of which estimate and half judge, a file stays as it was converted."""
TIME_LIMIT_S = 3600.0
"""Time limit in seconds; large networks take minutes."""
_WORDS: dict[Kind, str] = {
    "extremes": "the extremes as ranges",
    "least_error": "ranges by error",
    "equalised": "channels equalised",
}


@dataclass(frozen=True)
class Part:
    """One thing that was tried on an int8 file, as the manifest says it."""

    applied: bool
    samples: int
    """Calibration samples that there were."""
    error_before: float | None = None
    """Squared error of the outputs against the float model over their square, held-back samples."""
    error_after: float | None = None
    """The same with this part, whether it was kept or not."""
    reason: str | None = None
    """Why it was not applied; None if it was."""


@dataclass(frozen=True)
class Mended:
    """What was done to an int8 file beyond what TensorFlow's quantizer does."""

    ranges: Part
    """Ranges of activations by error instead of their extremes."""
    equalisation: Part
    """Channels made alike in size, with the extremes as ranges; at most one of the two is kept."""
    bias_correction: Part
    rounding: Part
    """Each judged with those before it; the biases are corrected with the weights rounded too."""
    noise: tuple[LayerNoise, ...] = ()
    """Noise of every measured layer in the finished file, in the order of execution."""

    def __str__(self) -> str:
        named = {
            "ranges by error": self.ranges,
            "channels equalised": self.equalisation,
            "biases corrected": self.bias_correction,
            "weights rounded by what layers give": self.rounding,
        }
        done = [name for name, part in named.items() if part.applied]
        if not done:
            return f"int8 is as converted: {self.bias_correction.reason}."
        errors = (self.ranges.error_before, _last(named.values()))
        return (
            f"int8: {', '.join(done)}; squared error of the outputs against the float model "
            f"{errors[0]:.3g} -> {errors[1]:.3g} of their square, on calibration samples held back."
        )

    @property
    def noisiest(self) -> tuple[LayerNoise, ...]:
        """The three layers with the lowest ratio, that one first."""
        return noisiest(self.noise, 3)

    def to_json(self) -> dict[str, Any]:
        """The manifest's entry "int8"."""
        done = asdict(self)
        return {"layers": list(done.pop("noise")), **done}


def mend(candidates: Sequence[Candidate], samples: Mapping[str, Array]) -> tuple[Draft, Mended]:
    """Mends an int8 file where that brings its outputs nearer to the float model.

    Args:
      candidates: int8 files of one model, that of the extremes first.
      samples: calibration data `[n, ...]` by the input's name in the signature.

    Returns:
      The draft to go on with, and what was done. Every second sample estimates, the others judge.
    """
    count = min(map(len, samples.values()))
    plain, tried = candidates[0].draft, comparable(candidates)
    if count < FEWEST_SAMPLES:
        return plain, _untried(
            count, f"{count} calibration samples are fewer than {FEWEST_SAMPLES}"
        )
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        try:
            facts = _run(Path(name), tried, samples)
        except WorkerError as error:
            return plain, _untried(count, f"it could not be measured ({error})")
        content = Path(name, "mended.tflite").read_bytes()
    if not math.isfinite(facts["candidates"][0]):
        return plain, _untried(count, "outputs are not finite")
    draft = plain
    if facts["mended"] is not None or facts["chosen"]:
        draft = tflite_draft.from_bytes(content, plain.graph.path)
    return draft, _said(facts, [each.kind for each in tried], count, draft)


def _run(
    folder: Path, candidates: Sequence[Candidate], samples: Mapping[str, Array]
) -> dict[str, Any]:
    for number, candidate in enumerate(candidates):
        tflite_draft.write(candidate.draft, folder / f"int8{number}.tflite")
        (folder / f"float{number}.tflite").write_bytes(candidate.floating)
    np.savez(folder / "samples.npz", **samples)
    starter = launcher()
    command = [*starter.command, "-m", "edgeprune.conversion.int8.mend_worker", str(folder)]
    run_child(command, TIME_LIMIT_S, environment=starter.variables())
    facts: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return facts


def _untried(count: int, reason: str) -> Mended:
    part = Part(False, count, reason=reason)
    return Mended(part, part, part, part)


def _said(facts: Mapping[str, Any], kinds: Sequence[Kind], count: int, draft: Draft) -> Mended:
    """What a result says, part by part."""
    errors = dict(zip(kinds, facts["candidates"], strict=True))
    kept, extremes = kinds[facts["chosen"]], errors["extremes"]
    chosen = errors[kept]

    def other(kind: Kind, none: str) -> Part:
        nearer = f"with {_WORDS[kept]} outputs come nearer"
        reason = none if kind not in errors else None if kept == kind else nearer
        return Part(reason is None, count, extremes, errors.get(kind), reason)

    choices = (
        other("least_error", "they are the extremes, or would add operators"),
        other("equalised", "no layer makes channels that one other layer reads"),
    )
    mended, biases, rounding = (facts[key] for key in ("mended", "biases", "rounding"))
    if biases is None:
        none = "no layer with a bias is in the int8 and the float file by the same name"
        part = Part(False, count, chosen, reason=none)
        return Mended(*choices, part, part)
    reason = "outputs do not come nearer to the float model"
    # TensorFlow names the tensors of outputs after its own call; the signature after the model.
    ends = {port.tensor: port.name for port in output_ports(draft.graph)}
    rows = ((ends.get(row["tensor"], row["layer"]), row["snr_db"]) for row in facts["layers"])
    return Mended(
        *choices,
        Part(mended is not None, count, chosen, biases, None if mended else reason),
        Part(
            mended == "rounding",
            count,
            min(chosen, biases),
            rounding,
            None if mended == "rounding" else reason,
        ),
        tuple(LayerNoise(*row) for row in rows),
    )


def _last(parts: Iterable[Part]) -> float | None:
    """The error behind the last part that was applied."""
    return [part.error_after for part in parts if part.applied][-1]

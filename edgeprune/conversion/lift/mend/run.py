"""Mends a quantized file that a pruned network was written into, where samples say that it helps.

What is tried, each kept only where outputs come nearer to those of the given file on samples that
are held back, by more than chance: other ranges of activations, corrected biases, and weights
rounded by what their layer gives.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.conversion.int8.child import launcher
from edgeprune.conversion.int8.mend import FEWEST_SAMPLES, TIME_LIMIT_S, Part
from edgeprune.conversion.lift.exposed import lifted_values
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.mend.choose import judging_outputs
from edgeprune.conversion.lift.mend.groups import free_groups
from edgeprune.conversion.lift.mend.layers import correctable, may_be_rounded
from edgeprune.conversion.lift.mend.propose import proposals
from edgeprune.conversion.lift.mend.rescale import Proposal
from edgeprune.conversion.lift.mend.watch import watch
from edgeprune.conversion.lift.samples import held
from edgeprune.conversion.lift.site import span_of
from edgeprune.core.arrays import Array
from edgeprune.core.data import spread
from edgeprune.keras_model.layers import Model
from edgeprune.targets.child import WorkerError, run_child
from edgeprune.tflite.format.draft import Draft, pack
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.signature import input_ports

_MOST_SAMPLES = 512
"""Samples that are taken, at most: half of them estimate, half judge."""
_MOST_VALUES = 1 << 25
"""Fewer are taken where the values of the largest activation are more than that together."""
_MOST_NAMED = 3
"""Activations that a sentence names."""


@dataclass(frozen=True)
class NewRange:
    """An activation whose range is another one, by the layer of the lifted model that makes it."""

    layer: str
    tensor: str
    before: tuple[float, float]
    after: tuple[float, float]


@dataclass(frozen=True)
class MendedFile:
    """What was tried on a quantized file behind pruning, and what was kept."""

    ranges: Part
    bias_correction: Part
    rounding: Part
    """Weights that pruning did not change keep their bytes; biases are corrected too."""
    activations: tuple[NewRange, ...] = ()

    @property
    def applied(self) -> bool:
        """Whether anything was kept."""
        return any(part.applied for part in self._parts.values())

    @property
    def _parts(self) -> Mapping[str, Part]:
        return {
            f"new ranges of {self._named}": self.ranges,
            "biases corrected": self.bias_correction,
            "weights rounded by what layers give": self.rounding,
        }

    @property
    def _named(self) -> str:
        names = [each.layer for each in self.activations[:_MOST_NAMED]]
        more = len(self.activations) - len(names)
        listed = ", ".join(names) + (f" and {more} more" if more else "")
        return f"{len(self.activations)} activations ({listed})"

    def __str__(self) -> str:
        done = [name for name, part in self._parts.items() if part.applied]
        if not done:
            return f"The quantized file is as pruned: {self.rounding.reason}."
        after = [part.error_after for part in self._parts.values() if part.applied][-1]
        return (
            f"int8: {', '.join(done)}: squared error of the outputs against the given file "
            f"{self.ranges.error_before:.3g} -> {after:.3g} of their square, on samples held back."
        )

    def to_json(self) -> dict[str, Any]:
        """The entry "int8" of a manifest."""
        done = asdict(self)
        rows = [
            each | {"before": [*each["before"]], "after": [*each["after"]]}
            for each in done.pop("activations")
        ]
        return {**done, "activations": rows}


def mend_file(
    lifted: Lifted, pruned: Model, draft: Draft, weights: Mapping[int, Array], x: Sequence[Array]
) -> tuple[bytes | None, MendedFile]:
    """Mends a pruned file.

    Args:
      lifted: the file before it was pruned.
      pruned: the network that was written into it.
      draft: the file with it, as it was opened again.
      weights: float32 weights that pruning changed, by the tensor that their layer gives, in the
        order of the file.
      x: samples `[n, ...]` for each input, in the order of the signature, in real values.

    Returns:
      The bytes of the mended file, None where nothing helped; and what was done.
    """
    count = len(x[0])
    if count < FEWEST_SAMPLES:
        return None, _untried(count, f"{count} samples are fewer than {FEWEST_SAMPLES}")
    if not judging_outputs(draft.graph):
        return None, _untried(count, "no output is a real number")
    rows = spread(count, min(count, _most_samples(draft.graph)))
    job = _job(lifted, pruned, draft.graph, weights, [array[rows] for array in x])
    if not job.ways and not any(name.startswith("sums:") for name in job.arrays):
        return None, _untried(count, "there is nothing to try")
    try:
        content, facts = _run(lifted.path, draft, job)
    except WorkerError as error:
        return None, _untried(count, f"it could not be measured ({error})")
    if not math.isfinite(facts["before"]):
        return None, _untried(count, "outputs are not finite")
    return content, _said(lifted, draft.graph, facts, len(rows))


@dataclass(frozen=True, eq=False)
class _Job:
    """What the worker is given, see there."""

    ways: Sequence[Sequence[Proposal]]
    arrays: Mapping[str, Array]


def _job(
    lifted: Lifted,
    pruned: Model,
    graph: Graph,
    weights: Mapping[int, Array],
    x: Sequence[Array],
) -> _Job:
    main, ports = graph.subgraphs[0], input_ports(graph)
    samples = [held(graph.tensors[p.tensor], array) for p, array in zip(ports, x, strict=True)]
    groups = free_groups(main, {index for part in lifted.islands for index in part.operators})
    places = lifted_values(replace(lifted, model=pruned))
    first = min((main.makers[index].index for index in weights), default=0)
    layers = {o.outputs[0]: o for o in correctable(main) if o.index >= first}
    layers = {index: operator for index, operator in layers.items() if index in places}
    looked_at = dict.fromkeys((*layers, *(index for group in groups for index in group)))
    spans = {index: span_of(graph.tensors[index]) for index in looked_at}
    known = {index: span for index, span in spans.items() if index in places}
    watched = watch(pruned, places, known, [array[::2] for array in samples], layers)
    arrays = {f"x:{port.name}": array for port, array in zip(ports, samples, strict=True)}
    for index, operator in layers.items():
        arrays[f"sums:{index}"] = watched[index].sums
        if index in weights and may_be_rounded(main, operator):
            arrays[f"weights:{index}"] = weights[index]
    return _Job(proposals(groups, spans, watched), arrays)


def _most_samples(graph: Graph) -> int:
    """How many samples are taken: the largest activation says what they cost."""
    largest = max(math.prod(tensor.shape) for tensor in graph.tensors if not tensor.constant)
    return min(_MOST_SAMPLES, max(FEWEST_SAMPLES, _MOST_VALUES // max(largest, 1)))


def _run(given: Path, draft: Draft, job: _Job) -> tuple[bytes | None, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as name:
        folder = Path(name)
        (folder / "given.tflite").write_bytes(given.read_bytes())
        (folder / "pruned.tflite").write_bytes(pack(draft.model))
        listed = [[(group, ends.low, ends.high) for group, ends in way] for way in job.ways]
        (folder / "job.json").write_text(json.dumps({"ways": listed}), encoding="utf-8")
        np.savez(folder / "job.npz", **job.arrays)
        starter = launcher()
        command = [*starter.command, "-m", "edgeprune.conversion.lift.mend.worker", name]
        run_child(command, TIME_LIMIT_S, environment=starter.variables())
        facts = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        made = folder / "mended.tflite"
        return (made.read_bytes() if made.exists() else None), facts


def _untried(count: int, reason: str) -> MendedFile:
    part = Part(False, count, reason=reason)
    return MendedFile(part, part, part)


def _said(
    lifted: Lifted,
    graph: Graph,
    facts: Mapping[str, Any],
    count: int,
) -> MendedFile:
    before = facts["before"]
    changed = {index: (low, high) for group, low, high in facts["changed"] for index in group}
    tensors = graph.tensors
    activations = tuple(
        NewRange(_layer_of(lifted, index), tensors[index].name, span_of(tensors[index]), ends)
        for index, ends in changed.items()
    )

    def part(key: str, start: float, applied: bool) -> Part:
        error = facts.get(key)
        nearer = "outputs do not come nearer to the given file"
        reason = None if applied else nearer if error is not None else "there is nothing to try"
        return Part(applied, count, start, error, reason)

    done = facts["mended"]
    with_ranges = facts["ranges"] if changed else before
    biases = part("biases", with_ranges, done in ("biases", "rounding"))
    return MendedFile(
        part("ranges", before, bool(changed)),
        biases,
        part("rounding", with_ranges, done == "rounding"),
        activations,
    )


def _layer_of(lifted: Lifted, index: int) -> str:
    """The layer that makes an activation; the tensor itself where Keras has none."""
    return lifted.tensors.get(index, (lifted.graph.tensors[index].name, 0))[0]

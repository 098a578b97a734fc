"""Chooses the rewrites that let a whole network run on XNNPACK's sparse kernels.

The rewrites are tried in two orders: with the image mirrored, which adds nothing to the network,
and with 5x5 kernels where that is not possible. The first after which the gate says "on" for every
runtime is taken; where none is, the file stays as it was. A network that runs sparsely then gets
those that make it faster, if the gate says "on" for every runtime after them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.draft import Draft, reread
from edgeprune.tflite.format.shapes import contradiction
from edgeprune.tflite.gate import NetworkVerdict, delegating, judge_each, rules_for
from edgeprune.tflite.gate.node import well_formed
from edgeprune.tflite.rewrites.constants import constants_first
from edgeprune.tflite.rewrites.edit import Edit
from edgeprune.tflite.rewrites.endings import end_in_plain_means
from edgeprune.tflite.rewrites.flat_biases import flatten_biases
from edgeprune.tflite.rewrites.flip import flip
from edgeprune.tflite.rewrites.mirror import mirror_by_rows, reverse_at_once, reverse_singly
from edgeprune.tflite.rewrites.pointwise import stride_depthwise
from edgeprune.tflite.rewrites.stem_channels import widen_stems
from edgeprune.tflite.rewrites.strides import pad_strides
from edgeprune.tflite.rewrites.swish import halve_swish
from edgeprune.tflite.rewrites.turned_means import turn_means_back

REWRITES: Mapping[str, Callable[[Edit], int]] = {
    "unturned-means": turn_means_back,
    "constants-first": constants_first,
    "plain-means": end_in_plain_means,
    "widened-stem": widen_stems,
    "depthwise-strides": stride_depthwise,
    "mirrored-image": flip,
    "reversed-at-once": reverse_at_once,
    "mirrored-by-rows": mirror_by_rows,
    "symmetric-padding": pad_strides,
    "reversed-by-axis": reverse_singly,
    "halved-swish": halve_swish,
    "flat-biases": flatten_biases,
}
"""Every rewrite by the name that reports use, in the order in which they are applied."""

_LAST = ("reversed-by-axis", "halved-swish", "flat-biases")
_FASTER = ("reversed-at-once", "mirrored-by-rows", *_LAST)
"""Those for networks that run sparsely already, of which some only compute right after them."""
_MIRRORS = frozenset({"mirrored-image", "reversed-at-once", "mirrored-by-rows"})


@dataclass(frozen=True)
class Applied:
    """One rewrite and in how many places it changed the network."""

    name: str
    places: int


@dataclass(frozen=True, eq=False)
class Rewritten:
    """The draft to go on with, the rewrites in it, and the gate's verdicts on it.

    Without rewrites `draft` is the one that was given. `reason` says why that is so, or what was
    gained. Where the network does not run sparsely, `breaker` is the name of the tensor that the
    operator in the way makes, and `remedy` what would help; empty where none is known.
    """

    draft: Draft
    applied: tuple[Applied, ...]
    verdicts: tuple[NetworkVerdict, ...]
    reason: str
    breaker: str = ""
    remedy: str = ""

    @property
    def on(self) -> bool:
        """Whether all runtimes run the network on sparse kernels."""
        return bool(self.verdicts) and all(verdict.state == "on" for verdict in self.verdicts)


def rewrite(draft: Draft, runtimes: Sequence[Runtime], *, assume_pruned: bool = False) -> Rewritten:
    """Rewrites a network so that it runs sparsely as a whole on all runtimes with XNNPACK.

    With `assume_pruned`, as if it had enough zeros: what pruning it could gain.

    Inputs, outputs, their names, signatures and metadata stay; outputs are equal up to the rounding
    of float32. `draft` itself is never changed.
    """
    verdicts = judge_each(draft.graph, runtimes, assume_pruned=assume_pruned)
    main = draft.graph.subgraphs[0]
    sound = all(well_formed(main, operator) for operator in main.operators)
    if not verdicts or len(draft.graph.subgraphs) != 1 or not sound:
        return Rewritten(draft, (), verdicts, "has several subgraphs, or unusual operators")
    if any(contradiction(main, operator) for operator in main.operators):
        return Rewritten(draft, (), verdicts, "declares other shapes than its operators compute")
    if all(verdict.state == "on" for verdict in verdicts):
        as_it_is = Rewritten(draft, (), verdicts, "runs on sparse kernels as it is")
        return _faster(as_it_is, runtimes, assume_pruned=assume_pruned)
    tried: list[tuple[Draft, NetworkVerdict]] = []
    for order in _orders(runtimes):
        changed, applied = _apply(draft, order)
        after = judge_each(changed.graph, runtimes, assume_pruned=assume_pruned)
        if all(verdict.state == "on" for verdict in after):
            found = Rewritten(changed, applied, after, "runs on sparse kernels when rewritten")
            return _faster(found, runtimes, assume_pruned=assume_pruned)
        tried += [(changed, verdict) for verdict in after if verdict.state != "on"]
    nearest, verdict = tried[0]
    reason = f"{verdict.runtime.name}, rewritten: {verdict.reason}"
    return Rewritten(draft, (), verdicts, reason, _made_by(nearest, verdict), verdict.remedy)


def _orders(runtimes: Sequence[Runtime]) -> Iterator[tuple[str, ...]]:
    """Which rewrites to try, and in which order: those that all runtimes compute right."""
    names = [name for name in REWRITES if name not in (*_wrong(runtimes), *_LAST)]
    yield tuple(names)
    yield tuple(name for name in names if name not in _MIRRORS)


def _wrong(runtimes: Sequence[Runtime]) -> tuple[str, ...]:
    """The rewrites that these runtimes do not need, or do not compute right."""
    together = all(rules_for(runtime).reverses_axes_at_once for runtime in delegating(runtimes))
    return ("reversed-by-axis",) if together else ("reversed-at-once",)


def _faster(found: Rewritten, runtimes: Sequence[Runtime], *, assume_pruned: bool) -> Rewritten:
    """A network that runs sparsely with what makes it faster, where that keeps it sparse."""
    names = [name for name in _FASTER if name not in _wrong(runtimes)]
    changed, applied = _apply(found.draft, names)
    after = judge_each(changed.graph, runtimes, assume_pruned=assume_pruned)
    if not applied or any(verdict.state != "on" for verdict in after):
        return found
    reason = "runs on sparse kernels, and faster when rewritten"
    return Rewritten(changed, (*found.applied, *applied), after, reason)


def _made_by(draft: Draft, verdict: NetworkVerdict) -> str:
    """The tensor that the operator in the way makes; converters name it after its layer."""
    if verdict.breaker is None:
        return ""
    outputs = draft.graph.operators[verdict.breaker].outputs
    return draft.graph.tensors[outputs[0]].name if outputs else ""


def _apply(draft: Draft, names: Sequence[str]) -> tuple[Draft, tuple[Applied, ...]]:
    changed = reread(draft)
    applied = []
    for name in names:
        edit = Edit(changed)
        if places := REWRITES[name](edit):
            changed = edit.finish()
            applied.append(Applied(name, places))
    return changed, tuple(applied)

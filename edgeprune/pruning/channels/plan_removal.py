"""Plans how many channels each layer loses, and removes them from a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from edgeprune.core.arrays import Array
from edgeprune.core.data import Data
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.spelling import with_article
from edgeprune.keras_model.copies import copy_model
from edgeprune.keras_model.layers import LayerMap, can_rebuild, map_layers
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.channels.choice import kept_by_plan, multiple_of, outputs_of, with_reasons
from edgeprune.pruning.channels.correction import correct_weights
from edgeprune.pruning.channels.cost import CostModel, Price, constant_price, find_ops
from edgeprune.pruning.channels.distribution import (
    Candidate,
    Distribution,
    Measure,
    distribute_removal,
)
from edgeprune.pruning.channels.group import Group, find_groups
from edgeprune.pruning.channels.importance import (
    ChannelReader,
    Elimination,
    by_scores,
    eliminate,
    find_makers,
    find_readers,
    parts_last,
)
from edgeprune.pruning.channels.removal import InputsLeft, Kept, build_smaller, inputs_left
from edgeprune.pruning.channels.rule import ChannelRule
from edgeprune.pruning.channels.statistics import Key, Moments, measure_moments
from edgeprune.pruning.channels.taylor import taylor_scores
from edgeprune.pruning.channels.trace import Trace, trace

Importance = Literal["reconstruction", "taylor", "magnitude"]
"""A criterion of `importance`."""
ChannelRules = Mapping[type, ChannelRule]
"""Rules for custom layers, by their class."""
NO_RULES: ChannelRules = MappingProxyType({})

IMPORTANCE_SAMPLES = 256
"""Most samples that importance is measured on; more take time and change little."""


@dataclass(frozen=True)
class Evidence:
    """The measurements that the importance of channels is computed from."""

    readers: tuple[ChannelReader, ...]
    moments: Mapping[Key, Moments]
    scores: Array | None = None
    """float64 `[channels]` by label, if importance is "taylor"."""
    orders: dict[tuple[bytes, int], Elimination] = field(default_factory=dict)
    """Cache of `order`."""

    def order(self, group: Group, at_once: int) -> Elimination:
        """The order in which a group's channels are removed; cached, since it may take long."""
        key = group.channels.tobytes(), at_once
        if key not in self.orders:
            found = (
                eliminate(group, self.readers, at_once)
                if self.scores is None
                else by_scores(self.scores[group.channels])
            )
            self.orders[key] = parts_last(found, group.parts)
        return self.orders[key]


def gather_evidence(
    mapped: LayerMap,
    traced: Trace,
    data: Data | None,
    importance: Importance | None,
    progress: Progress,
) -> Evidence:
    """Measures what a criterion of importance needs; without data that is always "magnitude".

    Args:
      mapped: the traced model.
      traced: the trace of the model.
      data: calibration data, with labels for "taylor".
      importance: the criterion; "reconstruction" if None.
      progress: called after each batch.

    Raises:
      DataError: "taylor" without labels.
      ModelError: a weight is not finite, or "taylor" with several outputs and no loss.
    """
    if data is None or importance == "magnitude":
        return Evidence((*find_readers(traced, {}), *find_makers(traced)), {})
    rows = np.linspace(0, len(data) - 1, min(len(data), IMPORTANCE_SAMPLES)).astype(int)
    samples = data.take(rows)
    moments = measure_moments(traced, samples.x, progress)
    readers = find_readers(traced, moments)
    scores = (
        taylor_scores(mapped.model, traced, samples, progress) if importance == "taylor" else None
    )
    return Evidence(readers, moments, scores)


def plan_removal(
    mapped: LayerMap,
    profile: DeviceProfile,
    made: Plan,
    *,
    data: Data | None = None,
    evidence: Evidence | None = None,
    rules: ChannelRules = NO_RULES,
) -> Plan:
    """Completes a plan: how many channels of each layer are removed, or why none are.

    Args:
      mapped: a built Keras model; not changed.
      profile: the device, which gives the cost of channels.
      made: a plan whose rows allow layers to lose channels.
      data: calibration data; without it, importance is magnitude.
      evidence: measurements made on this model before, replacing `data`.
      rules: rules for custom layers, by their class.

    Returns:
      A new plan.

    Raises:
      ModelError: a weight is not finite.
    """
    found = find_removable(mapped, made, data=data, evidence=evidence, rules=rules)
    if isinstance(found, Plan):
        return found
    distribution = distribute_removal(
        found.candidates,
        found.cost_model(constant_price(profile)),
        sparsity=made.asked,
        whole=sum(row.weights for row in made.layers if row.counted),
        measure=_measure(made),
    )
    return found.without(distribution)


@dataclass(frozen=True)
class Removable:
    """What may be removed of a model by a plan, in which order of importance."""

    made: Plan
    """The plan, whose rows allow layers to lose channels."""
    traced: Trace
    groups: tuple[Group, ...]
    candidates: tuple[Candidate, ...]
    """The groups that may lose channels."""

    def cost_model(self, price: Price) -> CostModel:
        """The cost of the whole model."""
        counted = _counted({row.path: row for row in self.made.layers})
        groups = [candidate.group for candidate in self.candidates]
        return CostModel(find_ops(self.traced, counted), groups, price)

    def without(self, found: Distribution) -> Plan:
        """The plan, completed: how many channels of each layer are removed, or why none are."""
        rows = _filled(self.made.layers, self.groups, self.candidates, found)
        return self.made.model_copy(update={"layers": rows})


def find_removable(
    mapped: LayerMap,
    made: Plan,
    *,
    data: Data | None = None,
    evidence: Evidence | None = None,
    rules: ChannelRules = NO_RULES,
    progress: Progress = no_progress,
) -> Removable | Plan:
    """What a plan lets be removed; the plan that removes nothing, with the reason, if that is so.

    Arguments and errors are those of `plan_removal`; `progress` is called after each batch.
    """
    if not can_rebuild(mapped.model):
        kind = with_article(type(mapped.model).__name__)
        reason = f"channels cannot be followed through {kind} without a graph"
        return made.model_copy(update={"layers": tuple(_left(row, reason) for row in made.layers)})
    traced = trace(mapped, rules)
    rows = {row.path: row for row in made.layers}
    groups = with_reasons(find_groups(traced), rows)
    evidence = evidence or gather_evidence(mapped, traced, data, None, progress)
    return Removable(made, traced, groups, tuple(_candidates(groups, rows, evidence)))


def _measure(made: Plan) -> Measure:
    return "latency" if made.goal == "latency" else "stored"


def _counted(rows: Mapping[str, LayerPlan]) -> dict[str, str]:
    """The attribute of the kernel that the sparsity is counted over, by the layer's path."""
    return {path: _kernel_name(row) for path, row in rows.items() if row.counted}


def _candidates(
    groups: Sequence[Group], rows: Mapping[str, LayerPlan], evidence: Evidence
) -> list[Candidate]:
    found = []
    for group in groups:
        if not group.frozen:
            multiple = multiple_of(group, rows)
            order = evidence.order(group, group.step(multiple))
            found.append(Candidate(group, order, multiple))
    return found


def _filled(
    rows: tuple[LayerPlan, ...],
    groups: Sequence[Group],
    candidates: Sequence[Candidate],
    found: Distribution,
) -> tuple[LayerPlan, ...]:
    gone = {
        id(candidate.group): 1 - kept / len(candidate.group)
        for candidate, kept in zip(candidates, found.kept, strict=True)
    }
    return tuple(_filled_row(row, groups, gone) for row in rows)


def _filled_row(row: LayerPlan, groups: Sequence[Group], gone: Mapping[int, float]) -> LayerPlan:
    """A row with the fraction that its layer loses, or the reason why it loses nothing."""
    if not row.shape:
        return row
    kernel = _kernel_name(row)
    after = list(row.shape)
    lost = 0
    frozen, together = [], []
    for group in groups:
        for member in group.members:
            if (member.path, member.weight) != (row.path, kernel):
                continue
            away = round(gone.get(id(group), 0.0) * len(member.positions))
            after[member.axis] -= away
            if member.role == "makes":
                lost += away
                frozen += [group.frozen] if group.frozen else []
                together += [other.path for other in group.makers if other.path != row.path]
    changed: dict[str, object] = {"after": tuple(after)}
    if not isinstance(row.pattern, Channels):
        return row.model_copy(update=changed)
    if frozen and not lost:
        return _left(row, frozen[0]).model_copy(update=changed)
    partners = f"; together with {_some(together)}" if together else ""
    changed |= {"sparsity": lost / outputs_of(row), "reason": f"{row.reason}{partners}"}
    return row.model_copy(update=changed)


def _kernel_name(row: LayerPlan) -> str:
    return "pointwise_kernel" if row.kind.startswith("Separable") else "kernel"


def _some(paths: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(paths))
    more = f" and {len(distinct) - 3} more" if len(distinct) > 3 else ""
    return ", ".join(distinct[:3]) + more


def _left(row: LayerPlan, reason: str) -> LayerPlan:
    if not isinstance(row.pattern, Channels):
        return row
    return row.model_copy(update={"pattern": None, "sparsity": 0.0, "reason": reason})


@dataclass(frozen=True)
class Removed:
    """A smaller model, and which channels of the whole one its layers read."""

    smaller: LayerMap
    inputs: InputsLeft


def remove_and_tell(
    mapped: LayerMap,
    plan: Plan,
    *,
    data: Data | None = None,
    importance: Importance | None = None,
    evidence: Evidence | None = None,
    rules: ChannelRules = NO_RULES,
    progress: Progress = no_progress,
) -> Removed:
    """Removes the channels that a plan's rows ask for, the least important first.

    With calibration data, the weights of the channels that stay are adjusted by least squares to
    compensate.

    Args:
      mapped: a built Keras model; not changed.
      plan: a plan that `plan` made, possibly edited.
      data: calibration data; without it, importance is magnitude and no weights are adjusted.
      importance: criterion of importance; see `gather_evidence`.
      evidence: measurements made on this model before, replacing `data` and `importance`.
      rules: rules for custom layers, by their class.
      progress: called after each batch and each group.

    Returns:
      A smaller model with the layers, names and compilation of the one given, and what is left of
      the inputs of its layers.

    Raises:
      PlanError: the plan removes channels that must stay, or different numbers of channels that
        are removed together.
      DataError: "taylor" without labels.
      ModelError: a weight is not finite, or a layer cannot be made with fewer channels.
    """
    traced = trace(mapped, rules)
    rows = {row.path: row for row in plan.layers}
    groups = with_reasons(find_groups(traced), rows)
    left = kept_by_plan(groups, rows)
    evidence = evidence or gather_evidence(mapped, traced, data, importance, progress)
    kept: Kept = np.ones(traced.channels, bool)
    for step, (index, count) in enumerate(left.items()):
        group = groups[index]
        if count < len(group):
            order = evidence.order(group, group.step(multiple_of(group, rows))).order
            kept[group.channels[order[: len(group) - count]]] = False
        progress(f"choosing channels of {group.name}", step + 1, len(left))
    corrected = mapped
    if evidence.moments:
        corrected = map_layers(copy_model(mapped.model))
        correct_weights(corrected, traced, kept, evidence.moments)
    return Removed(build_smaller(corrected, traced, kept), inputs_left(traced, kept))


def remove_planned(
    mapped: LayerMap,
    plan: Plan,
    *,
    evidence: Evidence | None = None,
    rules: ChannelRules = NO_RULES,
) -> LayerMap:
    """The smaller model of `remove_and_tell`, whose errors are the same.

    Without evidence channels go by magnitude, and no weights are adjusted.
    """
    return remove_and_tell(mapped, plan, evidence=evidence, rules=rules).smaller


def remove_any(mapped: LayerMap, plan: Plan, rules: ChannelRules = NO_RULES) -> LayerMap:
    """Removes as many channels as a plan asks for, whichever they are: a network's cost depends on
    its shapes alone.

    Raises:
      PlanError, ModelError: as `remove_planned`.
    """
    alike = Evidence((), {}, np.zeros(trace(mapped, rules).channels))
    return remove_planned(mapped, plan, evidence=alike, rules=rules)


def rest_of(plan: Plan, smaller: LayerMap) -> Plan:
    """The rest of a plan once its channels are removed: the rows with other patterns.

    Args:
      plan: the plan.
      smaller: the model without those channels.
    """
    rows = []
    for row in plan.layers:
        variable = smaller.kernels.get(row.path)
        shape = tuple(variable.shape) if variable is not None else row.shape
        changed: dict[str, object] = {"shape": shape, "after": None}
        if isinstance(row.pattern, Channels):
            changed |= {"pattern": None, "sparsity": 0.0}
        rows.append(row.model_copy(update=changed))
    return plan.model_copy(update={"layers": tuple(rows)})

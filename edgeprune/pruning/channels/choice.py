"""Maps a plan's rows, which describe layers, to channel groups: which may go, how many stay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgeprune.core import device_matrix
from edgeprune.core.errors import PlanError
from edgeprune.core.mask import kept_channels
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import LayerPlan
from edgeprune.pruning.channels.group import Group

Rows = Mapping[str, LayerPlan]
"""The rows of a plan by the path of their layer."""


def outputs_of(row: LayerPlan) -> int:
    """The number of output channels of a row's layer before removal."""
    return device_matrix.device_shape(row.kind, row.shape)[0]


def with_reasons(groups: Sequence[Group], rows: Rows) -> tuple[Group, ...]:
    """Freezes every group whose removal the plan does not allow, and gives the reason."""
    return tuple(
        group if group.frozen else replace(group, frozen=_why_kept(group, rows)) for group in groups
    )


def _why_kept(group: Group, rows: Rows) -> str:
    makers = [rows[m.path] for m in group.makers if m.path in rows]
    for row in makers:
        if row.shape and not isinstance(row.pattern, Channels):
            return f"{row.path} stays: {row.reason}"
    if not any(row.shape for row in makers):
        return "no layer that makes them is one that the profile prunes"
    return ""


def multiple_of(group: Group, rows: Rows) -> int:
    """The multiple that the channel counts of all layers that make a group must remain."""
    patterns = [rows[m.path].pattern for m in group.makers if m.path in rows]
    return math.lcm(*(p.multiple for p in patterns if isinstance(p, Channels)))


def kept_by_plan(groups: Sequence[Group], rows: Rows) -> dict[int, int]:
    """The number of channels of each group that stay according to a plan, by the group's index.

    Raises:
      PlanError: the rows of layers whose channels are removed together keep different counts, or a
        row removes channels that must stay.
    """
    kept = {index: _kept(group, rows) for index, group in enumerate(groups) if not group.frozen}
    for path, row in rows.items():
        if isinstance(row.pattern, Channels) and row.sparsity:
            _check_row(path, row, groups, kept)
    return kept


def _kept(group: Group, rows: Rows) -> int:
    counts: dict[int, str] = {}
    for maker in group.makers:
        row = rows.get(maker.path)
        if row is None or not isinstance(row.pattern, Channels):
            continue
        outputs = outputs_of(row)
        if maker.each * len(group) < outputs and counts:
            continue
        left = kept_channels(outputs, row.pattern.multiple, row.sparsity)
        share = left * len(group) // outputs
        counts.setdefault(share, maker.path)
    if len(counts) > 1:
        asked = " and ".join(f"{left} for {path}" for left, path in counts.items())
        raise PlanError(
            f"{', '.join(counts.values())}: their channels are removed together, so they keep "
            f"equally many. Received: a plan that keeps {asked}. Give them the same sparsity."
        )
    return next(iter(counts), len(group))


def _check_row(path: str, row: LayerPlan, groups: Sequence[Group], kept: Mapping[int, int]) -> None:
    if not isinstance(row.pattern, Channels):
        return
    parts = [
        (index, maker)
        for index, group in enumerate(groups)
        for maker in group.makers
        if maker.path == path
    ]
    left = sum(maker.each * kept.get(at, len(groups[at])) for at, maker in parts)
    wanted = kept_channels(outputs_of(row), row.pattern.multiple, row.sparsity)
    if abs(left - wanted) < row.pattern.multiple:
        return
    reasons = {groups[at].frozen for at, _ in parts if groups[at].frozen}
    others = {m.path for at, _ in parts for m in groups[at].makers} - {path}
    raise PlanError(
        f"{path}: the plan wants {wanted} of {outputs_of(row)} channels kept. Received: a model in "
        f"which {left} stay"
        + (f", since {'; '.join(sorted(reasons))}" if reasons else "")
        + (f"; they go together with those of {', '.join(sorted(others))}" if others else "")
        + ". Correct the row, or make a new plan."
    )

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
    kept = {
        index: count
        for index, group in enumerate(groups)
        if not group.frozen and (count := _asked_of_the_whole(group, rows)) is not None
    }
    _subtract(kept, groups, rows)
    for index, group in enumerate(groups):
        if not group.frozen:
            kept.setdefault(index, _in_proportion(group, rows))
    for path, row in rows.items():
        if isinstance(row.pattern, Channels) and row.sparsity:
            _check_row(path, row, groups, kept)
    return kept


def _left(row: LayerPlan, pattern: Channels) -> int:
    return kept_channels(outputs_of(row), pattern.multiple, row.sparsity)


def _asked_of_the_whole(group: Group, rows: Rows) -> int | None:
    """How many channels of a group the layers keep that make nothing else; None without any."""
    counts: dict[int, str] = {}
    for maker in group.makers:
        row = rows.get(maker.path)
        if row is None or not isinstance(row.pattern, Channels):
            continue
        outputs = outputs_of(row)
        if maker.each * len(group) == outputs:
            counts.setdefault(_left(row, row.pattern) * len(group) // outputs, maker.path)
    if len(counts) > 1:
        asked = " and ".join(f"{left} for {path}" for left, path in counts.items())
        raise PlanError(
            f"{', '.join(counts.values())}: their channels are removed together, so they keep "
            f"equally many. Received: a plan that keeps {asked}. Give them the same sparsity."
        )
    return next(iter(counts), None)


def _subtract(kept: dict[int, int], groups: Sequence[Group], rows: Rows) -> None:
    """Adds the groups that are all that a layer makes beside groups whose counts are known."""
    parts = [
        (row, row.pattern, _parts(path, groups))
        for path, row in rows.items()
        if isinstance(row.pattern, Channels) and row.shape
    ]
    found = True
    while found:
        found = False
        for row, pattern, made in parts:
            open_parts = [at for at in made if at not in kept and not groups[at].frozen]
            if len(open_parts) != 1:
                continue
            index = open_parts[0]
            known = sum(
                each * kept.get(at, len(groups[at])) for at, each in made.items() if at != index
            )
            count = (_left(row, pattern) - known) // made[index]
            kept[index] = min(max(count, 1), len(groups[index]))
            found = True


def _parts(path: str, groups: Sequence[Group]) -> dict[int, int]:
    """The groups that a layer makes, by index, with its number of channels for one of theirs."""
    return {
        index: maker.each
        for index, group in enumerate(groups)
        for maker in group.makers
        if maker.path == path
    }


def _in_proportion(group: Group, rows: Rows) -> int:
    """How many channels of a group stay if each part of a layer loses the same fraction."""
    for maker in group.makers:
        row = rows.get(maker.path)
        if row is not None and isinstance(row.pattern, Channels):
            return _left(row, row.pattern) * len(group) // outputs_of(row)
    return len(group)


def _check_row(path: str, row: LayerPlan, groups: Sequence[Group], kept: Mapping[int, int]) -> None:
    if not isinstance(row.pattern, Channels):
        return
    parts = _parts(path, groups)
    left = sum(each * kept.get(at, len(groups[at])) for at, each in parts.items())
    wanted = kept_channels(outputs_of(row), row.pattern.multiple, row.sparsity)
    if abs(left - wanted) < row.pattern.multiple:
        return
    reasons = {groups[at].frozen for at in parts if groups[at].frozen}
    others = {m.path for at in parts for m in groups[at].makers} - {path}
    raise PlanError(
        f"{path}: the plan wants {wanted} of {outputs_of(row)} channels kept. Received: a model in "
        f"which {left} stay"
        + (f", since {'; '.join(sorted(reasons))}" if reasons else "")
        + (f"; they go together with those of {', '.join(sorted(others))}" if others else "")
        + ". Correct the row, or make a new plan."
    )

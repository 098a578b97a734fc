"""Groups: channels that are coupled across the same layers and can be removed one by one.

A channel of a group may be a position of several weights at once: an output of one convolution, an
entry of the batch normalisation behind it, an input of the next. Removing it removes all of them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgeprune.pruning.channels.rule import Labels
from edgeprune.pruning.channels.trace import Trace, TracedWeight

Role = Literal["makes", "carries", "reads"]
"""Whether a layer computes channels, passes them on with a weight each, or sums over them."""


@dataclass(frozen=True)
class Member:
    """An axis of a weight that loses one or more positions with each channel of the group."""

    path: str
    kind: str
    weight: str
    axis: int
    role: Role
    each: int
    """Number of positions per channel."""
    positions: Labels
    """`[channels * each]`, indices along the axis, ascending."""

    def __str__(self) -> str:
        places = _ranges(self.positions)
        return f"{self.path} ({self.kind}) {self.role} {places} of {self.weight}, axis {self.axis}"


@dataclass(frozen=True)
class Group:
    """Channels that are coupled alike, any number of which may be removed."""

    name: str
    """Path of the first layer that makes the channels."""
    channels: Labels
    """`[n]`, labels of the channels."""
    members: tuple[Member, ...]
    frozen: str = ""
    """Why the channels must stay; empty if they may be removed."""
    parts: tuple[Labels, ...] = ()
    """Indices into `channels` of those that a tensor, such as a slice, has without the others; one
    of each part has to stay, as no runtime takes a tensor without channels."""

    def __len__(self) -> int:
        return len(self.channels)

    def __str__(self) -> str:
        state = f"stays: {self.frozen}" if self.frozen else "may be removed"
        lines = [f"{self.name}: {len(self)} channels, {state}"]
        return "\n".join([*lines, *(f"  {member}" for member in self.members)])

    @property
    def makers(self) -> tuple[Member, ...]:
        """The weights that make these channels, one per layer."""
        return tuple(member for member in self.members if member.role == "makes")

    def step(self, multiple: int) -> int:
        """The fewest channels whose removal keeps every maker's count a multiple of `multiple`."""
        return max(
            (multiple // math.gcd(multiple, member.each) for member in self.makers), default=1
        )


def _ranges(positions: Labels) -> str:
    """`0-31, 64-95` for the positions of an axis."""
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    runs = np.split(positions, breaks)
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs[:3]]
    return ", ".join(shown) + (f", ... ({len(positions)} in all)" if len(runs) > 3 else "")


def find_groups(trace: Trace) -> tuple[Group, ...]:
    """Partitions the channels of a model into groups, in the order of the model.

    Channels without a weight, such as those of an input that no layer reads, are in no group.
    """
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, weight in enumerate(trace.weights):
        labels, counts = np.unique(weight.axis.labels, return_counts=True)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
            places[label].append((index, count))
    alike: dict[tuple[tuple[tuple[int, int], ...], str], list[int]] = defaultdict(list)
    for label, found in places.items():
        alike[tuple(found), trace.frozen.get(label, "")].append(label)
    groups = [
        _group(trace, key, reason, np.array(sorted(labels)))
        for (key, reason), labels in sorted(alike.items(), key=lambda item: item[0][0][0][0])
    ]
    parts = _parts(trace, groups)
    return tuple(replace(group, parts=parts.get(at, ())) for at, group in enumerate(groups))


def _parts(trace: Trace, groups: Sequence[Group]) -> dict[int, tuple[Labels, ...]]:
    """The parts of groups that tensors have, each once, by the group's index."""
    owner = np.full(trace.channels, -1)
    place = np.zeros(trace.channels, int)
    for at, group in enumerate(groups):
        owner[group.channels], place[group.channels] = at, np.arange(len(group))
    found: dict[int, dict[bytes, Labels]] = defaultdict(dict)
    tensors = {t.labels.tobytes(): t.labels for made in trace.outputs.values() for t in made}
    for labels in tensors.values():
        held = np.unique(labels)
        among, counts = np.unique(owner[held], return_counts=True)
        if among[0] < 0 or any(n == len(groups[at]) for at, n in zip(among, counts, strict=True)):
            continue  # it keeps what no group removes
        at = int(among[counts.argmax()])
        part = place[held[owner[held] == at]]
        found[at][part.tobytes()] = part
    return {at: tuple(parts.values()) for at, parts in found.items()}


def _group(
    trace: Trace, places: tuple[tuple[int, int], ...], frozen: str, channels: Labels
) -> Group:
    mixes = _mixing_axes(trace)
    members = tuple(_member(trace.weights[index], each, channels, mixes) for index, each in places)
    first = next((m for m in members if m.role == "makes"), members[0])
    return Group(first.path, channels, members, frozen)


def _mixing_axes(trace: Trace) -> dict[tuple[str, str, int], Role]:
    """Which weight axes make channels and which read them."""
    found: dict[tuple[str, str, int], Role] = {}
    for traced in trace.matrices:
        matrix = traced.matrix
        if matrix.inputs is not None:
            found[traced.path, matrix.weight, matrix.input_axis] = "reads"
            found[traced.path, matrix.weight, matrix.output_axis] = "makes"
    return found


def _member(
    weight: TracedWeight,
    each: int,
    channels: Labels,
    mixes: dict[tuple[str, str, int], Role],
) -> Member:
    axis = weight.axis
    return Member(
        path=weight.path,
        kind=weight.kind,
        weight=axis.weight,
        axis=axis.axis,
        role=mixes.get((weight.path, axis.weight, axis.axis), "carries"),
        each=each,
        positions=np.flatnonzero(np.isin(axis.labels, channels)),
    )

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.profiles.channel_cost import ChannelCost, PaddedOutputs
from edgeprune.profiles.operation_costs import FormatCosts
from edgeprune.profiles.operations import Operation
from edgeprune.pruning.channels.cost import CostModel, by_constants, by_table
from edgeprune.pruning.channels.distribution import Candidate, Distribution, cumulated_losses
from edgeprune.pruning.channels.group import Group, Member
from edgeprune.pruning.channels.importance import by_scores
from edgeprune.pruning.channels.operation import Op, operation_at
from edgeprune.pruning.channels.rule import Labels
from edgeprune.pruning.channels.within_cost import distribute_within

STEP = 4
"""Channels that every layer of these networks keeps a multiple of."""


class Chain:
    """A chain of 1x1 convolutions whose hidden channels may go, on maps of given sizes."""

    def __init__(self, steps: list[int], pixels: list[int], scale: list[float]) -> None:
        sizes = [3, *(STEP * count for count in steps), 5]
        starts = np.cumsum([0, *sizes])
        labels = [np.arange(a, b) for a, b in itertools.pairwise(starts.tolist())]
        ops = [
            Op(f"layer{i}", inputs, outputs, places, places, window=1, counted=True)
            for i, ((inputs, outputs), places) in enumerate(
                zip(itertools.pairwise(labels), pixels, strict=False)
            )
        ]
        groups = [_group(f"layer{i}", hidden) for i, hidden in enumerate(labels[1:-1])]
        generator = np.random.default_rng(len(steps))
        self.candidates = [
            Candidate(group, by_scores(strength * generator.uniform(0.1, 1, len(group)) ** 2), STEP)
            for group, strength in zip(groups, scale, strict=False)
        ]
        cost = ChannelCost(
            macs_per_byte=1, compute_outputs=(PaddedOutputs(multiple=STEP),), source="a test"
        )
        self.cost_model = CostModel(ops, groups, by_constants(cost, 1))

    @property
    def latency(self) -> float:
        return self.cost_model.total.latency

    def all_ways(self) -> list[tuple[float, float]]:
        """Oracle: latency and error of every combination of numbers of channels."""
        allowed = [candidate.allowed() for candidate in self.candidates]
        return [
            (self.latency_of(kept), self.error_of(kept)) for kept in itertools.product(*allowed)
        ]

    def latency_of(self, kept: tuple[int, ...]) -> float:
        model = self.cost_model.copy()
        for index, (candidate, left) in enumerate(zip(self.candidates, kept, strict=True)):
            model.remove(index, len(candidate.group) - left)
        return model.total.latency

    def error_of(self, kept: tuple[int, ...]) -> float:
        return sum(
            cumulated_losses(candidate)[len(candidate.group) - left]
            for candidate, left in zip(self.candidates, kept, strict=True)
        )

    def within(self, part: float) -> Distribution:
        return distribute_within(self.candidates, self.cost_model, part * self.latency)


def _group(path: str, labels: Labels) -> Group:
    places = np.arange(len(labels))
    return Group(path, labels, (Member(path, "Conv2D", "kernel", 3, "makes", 1, places),))


chains = st.builds(
    Chain,
    st.lists(st.integers(2, 4), min_size=1, max_size=3),
    st.lists(st.sampled_from([1, 16, 64]), min_size=4, max_size=4),
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(chains, st.floats(0.3, 0.99))
def test_a_cost_is_kept_wherever_some_removal_keeps_it(chain: Chain, part: float) -> None:
    found = chain.within(part)
    assert found.after.latency == pytest.approx(chain.latency_of(found.kept))
    reachable = [latency for latency, _ in chain.all_ways() if latency <= part * chain.latency]
    if reachable:
        assert found.after.latency <= part * chain.latency
    else:
        assert found.after.latency == min(latency for latency, _ in chain.all_ways())


def test_nearly_all_find_the_best_of_all_combinations() -> None:
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(200):
        steps = generator.integers(2, 5, generator.integers(1, 4)).tolist()
        pixels = generator.choice([1, 16, 64], 4).tolist()
        chain = Chain(steps, pixels, generator.uniform(0.01, 1, 3).tolist())
        part = generator.uniform(0.3, 0.99)
        found = chain.within(part)
        assert found.error == pytest.approx(chain.error_of(found.kept))
        errors = [error for latency, error in chain.all_ways() if latency <= part * chain.latency]
        if errors:
            ratios.append(found.error / min(errors))
    assert len(ratios) > 150
    assert np.mean(np.array(ratios) < 1 + 1e-9) > 0.98
    assert max(ratios) < 1.4


@settings(max_examples=40, deadline=None)
@given(chains, st.floats(0.3, 0.99))
def test_no_step_can_be_taken_back_within_the_limit(chain: Chain, part: float) -> None:
    found = chain.within(part)
    for index, candidate in enumerate(chain.candidates):
        allowed = candidate.allowed()
        place = allowed.index(found.kept[index])
        if place and found.after.latency <= part * chain.latency:
            kept = list(found.kept)
            kept[index] = allowed[place - 1]
            assert chain.latency_of(tuple(kept)) > part * chain.latency


def test_removal_goes_where_a_unit_of_loss_saves_most_latency() -> None:
    """Two layers that lose alike: the one on the large map saves 16 times as much."""
    chain = Chain([4, 4], [64, 64, 1], [0.5, 0.5])
    found = chain.within(0.8)
    assert found.kept[0] < found.kept[1] == 16


def test_an_operation_is_priced_as_the_operator_of_its_file() -> None:
    labels = np.arange(32)
    depthwise = Op("d", labels, labels, 256, 64, window=9, fan=1, groups=32)
    assert operation_at(depthwise, 24, 24) == Operation(
        "DEPTHWISE_CONV_2D",
        positions=64,
        channels=24,
        input_positions=256,
        input_channels=24,
        rows=8,
        kernel=(3, 3),
        kernel_inputs=1,
        stride=2,
        taps=9 * 64,
    )
    added = operation_at(Op("a", np.arange(64), labels, 64, 64), 48, 24)
    assert (added.op, added.elements) == ("ADD", 64 * 24)


def test_a_table_prices_tiles_of_outputs() -> None:
    costs = FormatCosts(
        numerics="int8", tile=(4, 16), costs={"matrix/products": 1, "matrix/operators": 0}, error=0
    )
    constants = ChannelCost(macs_per_byte=0, source="a test")
    price = by_table(costs, constants, 1)
    conv = Op("c", np.arange(32), np.arange(32), 64, 64, window=1)
    found = [price(conv, 32, outputs).latency for outputs in (32, 20, 16)]
    assert found == [64 * 32 * 32, 64 * 32 * 32, 64 * 16 * 32]

"""What a plan comes to, in a few rows above its layers: the gain to expect, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field

from edgeprune.core.grid import Grid, grid
from edgeprune.core.outlook import Outlook
from edgeprune.core.schema import Index, Table, Text

Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]
CostFraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
MAX_EXAMPLES = 3
"""Layers that are named for each reason why layers are left alone."""


class Expected(Table):
    """What a model is expected to cost before and after; nothing is measured for it."""

    unit: Text
    """What is counted, such as `instructions`."""
    dense: Cost
    """Cost of the model as it is."""
    pruned: Cost
    """Cost once the plan is carried out."""
    source: Text
    """Where the figures come from."""

    def __str__(self) -> str:
        if not self.pruned:
            return f"expected: no {self.unit} are left ({self.source}); not measured"
        factor = self.dense / self.pruned
        if self.dense == self.pruned:
            return f"expected: {self.dense / 1e6:.1f} M {self.unit} ({self.source}); not measured"
        if factor < 1:
            return f"expected: {1 / factor:.2f}x more {self.unit} ({self.source}); not measured"
        return f"expected: {factor:.2f}x fewer {self.unit} ({self.source}); not measured"

    def loss(self) -> str:
        """That the plan costs more than it saves, in a sentence."""
        return (
            f"The plan is expected to cost more than it saves: {self.dense:,.0f} to "
            f"{self.pruned:,.0f} {self.unit} ({self.source})."
        )


class FasterRoute(Table):
    """Another route of the same device that is expected to be faster, at its default sparsity."""

    route: Text
    unit: Text
    """As `Expected.unit`."""
    value: Cost
    """What a model is expected to cost on that route."""

    def sentence(self, expected: Expected | None) -> str:
        """Names it, with its number."""
        less = f", {expected.pruned / self.value:.2f}x fewer" if expected and self.value else ""
        return f"route '{self.route}': {self.value / 1e6:.1f} M {self.unit} expected{less}"


class Island(Table):
    """Operators of a .tflite file that cannot be lifted to Keras; the interpreter runs them."""

    ops: tuple[Index, ...]
    """Their indices."""
    reason: Text


def islands_grid(islands: Iterable[Island]) -> tuple[Grid, ...]:
    """One row for each island; nothing where there is none."""
    rows = [(_runs(each.ops), each.reason) for each in islands]
    title = "Not lifted: islands run in the interpreter as they are, and gradients end there"
    return (grid(title, ("operators", "why"), rows),) if rows else ()


def _runs(numbers: tuple[int, ...]) -> str:
    """Numbers in rising order, those that follow each other as `3-7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def asked_and_expected(
    sparsity: float, expected: float, asked_cost: float | None, cost: float | None
) -> str:
    """What a plan was asked for and what it comes to, of weights and of cost.

    Args:
      sparsity: asked for.
      expected: the sparsity that is reached.
      asked_cost: fraction of the dense model's cost asked for in place of a sparsity, if one was.
      cost: the fraction that is reached; None if it is not known.
    """
    reached = f"{expected:.3f} expected over the prunable weights"
    left = f", {cost:.3f} of the dense model's cost" if cost is not None else ""
    if asked_cost is None:
        return f"sparsity {sparsity:g} asked, {reached}{left}"
    return f"cost {asked_cost:g} asked, {cost or 1:.3f} expected; sparsity {reached}"


def verdict_grid(
    title: str,
    pruned: str,
    expected: Expected | None,
    network: Outlook | None,
    faster: FasterRoute | None,
    next_step: str,
) -> Grid:
    """The verdict on a plan.

    Args:
      title: what the plan is for.
      pruned: what is pruned, in words; empty if nothing is.
      expected: the cost before and after, if it is known.
      network: what the network as a whole can gain, on devices that want it to fit.
      faster: another route that is expected to be faster, if there is one.
      next_step: what to type next; empty if nobody said.
    """
    rows = (
        ("gain", _gain(pruned, expected, network)),
        ("pruned", pruned or "nothing"),
        ("in the way", _obstacle(network)),
        ("activations", network.activations if network is not None and network.gains else ""),
        ("faster", faster.sentence(expected) if faster is not None else ""),
        ("next", next_step),
    )
    return grid(title, ("", "verdict"), (row for row in rows if row[1]))


def _gain(pruned: str, expected: Expected | None, network: Outlook | None) -> str:
    if network is not None and network.gains is False:
        return f"no speed: {network.reason}"
    if network is not None and network.gains is None:
        return f"not known: {network.reason}"
    if not pruned and expected is None:
        return "none: no layer takes a pattern that pays here"
    return str(expected or "not known before it is measured")


def _obstacle(network: Outlook | None) -> str:
    """What prevents the gain, and what would help."""
    if network is None or network.gains:
        return ""
    return "; ".join(part for part in (network.breaker, network.remedy.rstrip(".")) if part)


def left_alone_grid(rows: Iterable[tuple[str, str, int]], *notes: str) -> Grid:
    """The layers that are left alone, counted by their reason; the most weights come first.

    Args:
      rows: reason, path and number of weights of each.
      notes: below the table.
    """
    weights: Counter[str] = Counter()
    paths: dict[str, list[str]] = {}
    for reason, path, size in rows:
        weights[reason] += size
        paths.setdefault(reason, []).append(path)
    return grid(
        "Left alone, by reason",
        ("why", ">layers", ">weights", "which"),
        (
            (reason, str(len(paths[reason])), str(size), _some(paths[reason]))
            for reason, size in weights.most_common()
        ),
        *notes,
    )


def _some(paths: list[str]) -> str:
    more = len(paths) - MAX_EXAMPLES
    named = ", ".join(paths[:MAX_EXAMPLES])
    return f"{named} and {more} more" if more > 0 else named


def counted(patterns: Iterable[str]) -> Iterator[str]:
    """`Block(2,1) in 12`, for each pattern by how many layers take it."""
    return (f"{pattern} in {count}" for pattern, count in Counter(patterns).most_common())

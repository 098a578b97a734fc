"""A plan as a value and as a JSON file: per layer the pattern and sparsity, or why it has none.

A plan prints, goes to JSON and back, and may be edited in between; `planning` makes it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from edgeprune.core import device_matrix
from edgeprune.core.errors import PatternError, PlanError
from edgeprune.core.grid import Grid, Printable, brief, grid
from edgeprune.core.mask import check_sparsity, kept_channels
from edgeprune.core.outlook import Outlook
from edgeprune.core.pattern import Channels
from edgeprune.core.plan_verdict import (
    CostFraction,
    Expected,
    FasterRoute,
    Island,
    asked_and_expected,
    counted,
    islands_grid,
    left_alone_grid,
    verdict_grid,
)
from edgeprune.core.schema import (
    Count,
    Fraction,
    Index,
    Table,
    Text,
    WrittenPattern,
    explain_invalid,
    not_finite,
)
from edgeprune.core.spelling import suggestion, with_article
from edgeprune.core.terms import CheaperActivation, Goal, Numerics


@dataclass(frozen=True)
class LayerInfo:
    """What a plan needs to know of a layer of the model."""

    path: str
    kind: str
    """Keras class name."""
    shape: tuple[int, ...] | None
    """Kernel in Keras order; None if the kind has no device matrix."""
    parameters: int
    pixels: int | None = None
    """Output positions (height * width) of one sample; None if not known before the model runs."""
    strides: tuple[int, ...] = ()
    groups: int = 1
    feeds_map: bool = False
    """Whether outputs of one pixel go back into a feature map, as in squeeze-and-excite."""
    feeds_output: bool = False
    """Whether the layer's output channels are the model's own outputs."""


@dataclass(frozen=True)
class LayerSparsity:
    """The zeros that the kernel of a layer holds."""

    path: str
    weights: int
    zeros: int

    @property
    def sparsity(self) -> float:
        """Fraction of zeros, in [0, 1]."""
        return self.zeros / self.weights


class LayerPlan(Table):
    """One layer: what is done with it and why."""

    path: Text
    kind: Text
    shape: tuple[Count, ...]
    """Kernel in Keras order; empty for a kind without a device matrix."""
    pattern: WrittenPattern | None
    """None leaves the layer alone."""
    sparsity: Fraction
    reason: Text
    prunable: bool = False
    """Whether the layer belongs to the profile's set that a sparsity is counted over."""
    left_out: bool = False
    """Whether the user left the layer alone; its weights then do not count as asked for."""
    expected_error: float | None = None
    """What reconstruction is expected to leave: squared error over the energy of the outputs."""
    after: tuple[Count, ...] | None = None
    """The kernel's expected shape once channels are removed; what is done goes by `sparsity`."""
    part: Index | None = None
    """The part between the islands of a file; None where the whole file is lifted."""

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, row: Any) -> Any:
        """Plans written before `left_out` existed say it by their reason alone."""
        if isinstance(row, dict) and "left_out" not in row:
            return {**row, "left_out": row.get("reason") == LEFT_OUT}
        return row

    @property
    def counted(self) -> bool:
        """Whether the layer's weights count towards the sparsity that was asked for."""
        return self.prunable and not self.left_out

    @property
    def weights(self) -> int:
        """Number of weights of the kernel."""
        return math.prod(self.shape) if self.shape else 0

    @property
    def expected_sparsity(self) -> float:
        """The fraction of zeros, or of weights removed, that whole units of the pattern allow."""
        if self.after is not None and self.weights:
            return 1 - math.prod(self.after) / self.weights
        if self.pattern is None:
            return 0.0
        if isinstance(self.pattern, Channels):
            rows = device_matrix.device_shape(self.kind, self.shape)[0]
            return 1 - kept_channels(rows, self.pattern.multiple, self.sparsity) / rows
        return self.sparsity


class PaddingPlan(Table):
    """A layer whose padding becomes symmetric before training; see `padding`."""

    path: Text
    before: Text
    """`same`, or the pads of a `ZeroPadding2D` as Keras writes them."""
    after: Text


class ActivationPlan(Table):
    """A layer or operation whose activation is replaced before training; see `activations`."""

    path: Text
    before: Text
    """As Keras names it, or `x * sigmoid(x)` for a product."""
    after: CheaperActivation


class Plan(Printable, Table):
    """A device, a model and what is done with each layer."""

    device: Text
    model: str
    route: Text | None = None
    """The profile's route that is planned for; None, in older plans, is its default."""
    numerics: Numerics | None = None
    """The number format of that route; None in older plans."""
    goal: Goal
    asked: Fraction
    """Sparsity asked for over the profile's prunable weights; what the cost came to, if that was
    asked for."""
    asked_cost: CostFraction | None = None
    """Fraction of the dense model's cost in the same number format that was asked for instead."""
    layers: tuple[LayerPlan, ...] = Field(default=())
    padding: tuple[PaddingPlan, ...] = Field(default=())
    """Layers whose padding changes; empty keeps the model's function as it is."""
    activation: tuple[ActivationPlan, ...] = Field(default=())
    """Activations that are replaced; empty keeps the model's function as it is."""
    islands: tuple[Island, ...] = Field(default=())
    """What a .tflite file computes outside of Keras; empty for a file that is lifted whole."""
    network: Outlook | None = None
    """What the network as a whole can gain, on a device whose sparse kernels want it to fit."""
    expected: Expected | None = None
    """What the model is expected to cost before and after; None if nothing tells."""
    faster_route: FasterRoute | None = None
    """Another route of the device that is expected to be faster; None if none is known."""
    next_step: str = ""
    """What to type next."""
    pruned_sha256: str | None = None
    """The hash of the model that came of it, where it was carried out; see `hash_model`."""

    @property
    def pruned(self) -> tuple[LayerPlan, ...]:
        """The layers that get zeros."""
        return tuple(layer for layer in self.layers if layer.pattern and layer.sparsity)

    @property
    def expected_sparsity(self) -> float:
        """Fraction of zeros over the profile's prunable weights once the plan is carried out."""
        counted = [layer for layer in self.layers if layer.prunable]
        weights = sum(layer.weights for layer in counted)
        zeros = sum(layer.weights * layer.expected_sparsity for layer in counted)
        return zeros / weights if weights else 0.0

    @property
    def expected_cost(self) -> float | None:
        """The fraction of the dense model's cost that is left; None if it is not known."""
        found = self.expected
        return found.pruned / found.dense if found is not None and found.dense else None

    def warnings(self) -> tuple[str, ...]:
        """What a user should know before pruning, in sentences."""
        network = self.network.sentences() if self.network else ()
        if self.expected is not None and self.expected.pruned > self.expected.dense:
            network = (self.expected.loss(), *network)
        if not self.pruned:
            nothing = f"Nothing to prune for {self.device}: see the reason beside each layer."
            return (nothing, *network)
        cost = self.expected_cost
        if self.asked_cost is not None and cost is not None and cost > self.asked_cost:
            return (
                f"The plan reaches {cost:.3f} of the dense model's cost instead of "
                f"{self.asked_cost:g}: no more can be removed (see the reasons).",
                *network,
            )
        if self.expected_sparsity < self.asked - 0.01:
            return (
                f"The plan reaches a sparsity of {self.expected_sparsity:.3f} instead of "
                f"{self.asked:g}: some layers stay dense or keep whole units (see the reasons).",
                *network,
            )
        return network

    def to_json(self) -> dict[str, Any]:
        """The JSON form of the command-line contract; `read_plan` reads it back."""
        return self.model_dump(mode="json")

    def grids(self, *, every_layer: bool = False) -> tuple[Grid, ...]:
        """The verdict, the pruned layers, those left alone by reason, then what stands behind it.

        Args:
          every_layer: list every layer with its reason, also those without a kernel.
        """
        padding = grid(
            "Padding made symmetric before training",
            ("layer", "now", "then"),
            ((row.path, row.before, row.after) for row in self.padding),
        )
        activation = grid(
            "Activations replaced before training",
            ("layer", "now", "then"),
            ((row.path, row.before, row.after) for row in self.activation),
        ).compact()
        changes = [
            *([padding] if self.padding else []),
            *([activation] if self.activation else []),
        ]
        network = self.network.grids() if self.network else ()
        layers = (_layers_grid("Every layer", self.layers),) if every_layer else self._summary()
        return (self._verdict(), *layers, *islands_grid(self.islands), *changes, *network)

    def _verdict(self) -> Grid:
        return verdict_grid(
            f"Plan for {self.device}: "
            + asked_and_expected(
                self.asked, self.expected_sparsity, self.asked_cost, self.expected_cost
            ),
            self._what_is_pruned(),
            self.expected,
            self.network,
            self.faster_route,
            self.next_step,
        )

    def _what_is_pruned(self) -> str:
        """In words; empty if nothing is."""
        if not self.pruned:
            return ""
        kernels = sum(bool(layer.shape) for layer in self.layers)
        patterns = ", ".join(counted(str(layer.pattern) for layer in self.pruned))
        return f"{len(self.pruned)} of {kernels} layers with a kernel: {patterns}"

    def _summary(self) -> tuple[Grid, ...]:
        """The pruned layers, and the others by their reasons."""
        pruned = set(self.pruned)
        others = [row for row in self.layers if row.shape and row not in pruned]
        hidden = sum(not layer.shape for layer in self.layers)
        note = f"{hidden} more layers have no kernel and are left alone."
        left = left_alone_grid(
            ((_why_left(row), row.path, row.weights) for row in others), *([note] if hidden else [])
        )
        return (
            *([_layers_grid("Pruned", self.pruned)] if pruned else []),
            *([left] if others or hidden else []),
        )


def _layers_grid(title: str, layers: Iterable[LayerPlan]) -> Grid:
    headings = ("layer", "kind", "part", "kernel", "then", "pattern", ">sparsity", ">error", "why")
    return grid(title, headings, map(_layer_cells, layers)).compact()


def _why_left(row: LayerPlan) -> str:
    """The reason of a layer that is left alone, also where a pattern allows what is not done."""
    return row.reason if row.pattern is None else f"{row.pattern} leaves all of it at this sparsity"


def _layer_cells(layer: LayerPlan) -> tuple[str, ...]:
    return (
        layer.path,
        layer.kind,
        "" if layer.part is None else str(layer.part),
        "x".join(map(str, layer.shape)),
        "x".join(map(str, layer.after or ())) if layer.after != layer.shape else "",
        str(layer.pattern or "-"),
        f"{layer.sparsity:.3f}" if layer.pattern else "-",
        brief(layer.expected_error),
        layer.reason,
    )


def read_plan(path: Path) -> Plan:
    """Reads a plan from a JSON file, as `plan -o` writes it or as it was edited since.

    Raises:
      PlanError: unreadable, not JSON, an unknown key, a wrong value, or a layer named twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot read this plan ({error}).") from error
    try:
        found = Plan.model_validate_json(text)
    except ValidationError as error:
        raise PlanError(f"{path}: {explain_invalid(error, Plan)}") from error
    key = not_finite(found.model_dump())
    if key is not None:
        raise PlanError(
            f"{path}: key '{key}': expected a finite number. Received: NaN or infinity."
        )
    paths = Counter(layer.path for layer in found.layers)
    twice = sorted(path for path, count in paths.items() if count > 1)
    if twice:
        raise PlanError(f"{path}: layer paths must be unique. Received twice: {', '.join(twice)}.")
    return found


def check_plan(found: Plan, layers: Iterable[LayerInfo]) -> None:
    """Checks that a plan, which may be edited or made for another model, can be carried out.

    Raises:
      PlanError: it names a layer that the model lacks, or a pattern, sparsity or shape that does
        not fit the layer.
    """
    known = {layer.path: layer for layer in layers}
    for row in found.layers:
        layer = known.get(row.path)
        if layer is None:
            raise PlanError(
                f"The plan names layer '{row.path}', which this model does not have."
                f"{suggestion(row.path, known)} Correct the path, or make a new plan."
            )
        _check_row(row, layer)


def _check_row(row: LayerPlan, layer: LayerInfo) -> None:
    if row.pattern is None:
        return
    if layer.shape is None:
        raise PlanError(
            f"{row.path}: {with_article(layer.kind)} has no kernel that patterns are defined on. "
            f"Set its pattern to null. Received: {row.pattern}."
        )
    if row.shape != layer.shape:
        raise PlanError(
            f"{row.path}: the plan was made for a kernel {list(row.shape)}. "
            f"Received: a model with {list(layer.shape)}. Make a new plan for this model."
        )
    try:
        check_sparsity(row.pattern, row.sparsity)
    except PatternError as error:
        raise PlanError(f"{row.path}: {error}") from error


LEFT_OUT = "left out by --only or --skip"


MAX_RAISED_SPARSITY = 0.95
"""Highest sparsity a layer is raised to when it makes up for layers that must stay dense."""

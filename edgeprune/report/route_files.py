"""The files of a device's routes, for measuring only: nothing is trained, and work is shared.

What a model costs does not depend on the values of its weights. So channels and zeros are chosen
by the weights alone, a dense file is written once per number format, and routes that differ in
their number format only are made of one pruned model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeprune.conversion.convert import export
from edgeprune.conversion.given import Given, PrunedFile, keras_model_of
from edgeprune.core.data import Data, Scale
from edgeprune.core.errors import EdgepruneError, quality_warnings
from edgeprune.core.files import Artifact
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress
from edgeprune.core.terms import Numerics
from edgeprune.keras_model.interface import input_specs
from edgeprune.keras_model.layers import Model
from edgeprune.keras_model.sparsity import reached_sparsity
from edgeprune.planning.cost_asked import why_no_cost
from edgeprune.planning.plan_model import plan as plan_model
from edgeprune.profiles.dense import dense_on
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import Route
from edgeprune.pruning.carry_out import prune
from edgeprune.targets.inputs import generated_samples

CALIBRATION_SAMPLES = 4
"""Calibrated on: ranges of activations change no cost."""


@dataclass(frozen=True)
class RouteFiles:
    """The files of one route; what there is none of is None."""

    route: Route
    plan: Plan | None = None
    """None for a dense route."""
    reached: float | None = None
    """Fraction of zeros, or of weights removed, over the prunable weights."""
    dense: Artifact | None = None
    """The unpruned model in the route's number format."""
    pruned: Artifact | None = None
    error: EdgepruneError | None = None
    """Why one of them could not be made."""

    @property
    def own(self) -> Artifact | None:
        """The file that would be shipped on this route."""
        return self.dense if self.route.dense else self.pruned


@dataclass(frozen=True)
class RouteJob:
    """What the files of all routes are made from, and what was made of it so far."""

    given: Given
    name: str
    profile: DeviceProfile
    """With all its routes."""
    samples: Data | None
    """For calibration; generated if None."""
    scale: Scale
    sparsity: float | None
    """Each route's default if None, and where its pattern has a sparsity of its own."""
    cost: float | None
    """As for `plan`; not where a route's cost leaves nothing to choose."""
    only: str | None
    skip: str | None
    folder: Path
    progress: Progress
    _dense: dict[Numerics, Artifact] = field(default_factory=dict)
    _pruned: dict[str, Model | PrunedFile] = field(default_factory=dict)
    """By what of a plan changes the model."""

    def plan(self, route: Route) -> Plan:
        """What is pruned on a route.

        Raises:
          EdgepruneError: as `plan`.
        """
        made = plan_model(
            self.given,
            self.profile,
            route=route.name,
            sparsity=None if route.fixed else self.sparsity,
            cost=None if why_no_cost(self.profile.on(route.name)) else self.cost,
            only=self.only,
            skip=self.skip,
            look_around=False,
        )
        return made.model_copy(update={"model": self.name})

    def dense(self, numerics: Numerics) -> Artifact:
        """The unpruned file in a number format.

        Raises:
          EdgepruneError: as `export`.
        """
        if numerics not in self._dense:
            on = dense_on(self.profile, numerics)
            self._dense[numerics] = self._export(self.given, on, f"{on.route.name}.tflite", None)
        return self._dense[numerics]

    def pruned(self, plan: Plan, route: Route) -> tuple[Artifact, float]:
        """The pruned file of a route, and the sparsity that it reached.

        Raises:
          EdgepruneError: as `prune` and `export`.
        """
        key = repr([(row.path, row.pattern, row.sparsity, row.after) for row in plan.layers])
        if key not in self._pruned:
            with quality_warnings():  # of accuracy, which is nobody's aim here
                self._pruned[key] = prune(self.given, plan)
        model = self._pruned[key]
        on = self.profile.on(route.name)
        artifact = self._export(model, on, f"{route.name}.tflite", plan)
        return artifact, reached_sparsity(keras_model_of(model), plan)

    def _export(
        self,
        model: Given | Model | PrunedFile,
        profile: DeviceProfile,
        name: str,
        plan: Plan | None,
    ) -> Artifact:
        return export(
            model,
            profile,
            self.folder / name,
            x=self._calibration() if profile.numerics == "int8" else None,
            plan=plan,
            route=profile.route.name,
            scale=self.scale,
            measuring_only=True,
        ).artifact

    def _calibration(self) -> object:
        if self.samples is not None:
            return self.samples
        specs = input_specs(self.given.model)
        return generated_samples(self.given.name, specs, CALIBRATION_SAMPLES)


def make_route_files(job: RouteJob, routes: Sequence[Route]) -> tuple[RouteFiles, ...]:
    """Plans, prunes and exports every route.

    A route whose files cannot be made holds the error; the others are still made.

    Raises:
      EdgepruneError: planning failed, which it does for what was asked.
    """
    plans = [None if route.dense else job.plan(route) for route in routes]
    made = []
    for number, (route, plan) in enumerate(zip(routes, plans, strict=True)):
        job.progress(f"exporting {route.name}", number, len(routes))
        made.append(_files(job, route, plan))
    return tuple(made)


def _files(job: RouteJob, route: Route, plan: Plan | None) -> RouteFiles:
    found = RouteFiles(route, plan, reached=0.0)
    try:
        found = replace(found, dense=job.dense(route.numerics))
        if plan is not None and plan.pruned:
            pruned, reached = job.pruned(plan, route)
            found = replace(found, pruned=pruned, reached=reached)
    except EdgepruneError as error:
        return replace(found, reached=None, error=error)
    return found

"""Planning: which layers of a model a device's rules prune, in which pattern, and why not others.

A plan is made from a list of layers and a device profile, without touching the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from edgeprune.core.pattern import Channels
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.sources import samples_of
from edgeprune.core.terms import Activation, Allocation, Goal
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.expectation import next_step, with_verdict
from edgeprune.planning.islands import with_islands
from edgeprune.planning.rules import make_plan
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.profiles.rules import AUTO


def plan(
    model: Any,
    device: str | Path | DeviceProfile,
    *,
    sparsity: float | None = None,
    cost: float | None = None,
    goal: Goal | None = None,
    route: str | None = None,
    only: str | None = None,
    skip: str | None = None,
    padding: Literal["keep", "symmetric"] = "keep",
    activation: Activation = "keep",
    allocation: Allocation | None = None,
    x: Any = None,
    samples: int | None = None,
    rules: Mapping[type, Any] = MappingProxyType({}),
    runtime: str | None = None,
    max_arena: int | None = None,
    look_around: bool = True,
    signature: str | None = None,
    progress: Progress = no_progress,
) -> Plan:
    """Plans the pruning of a model for a device; the model is not changed.

    Where channels are removed, how many of each layer is weighed by the model's weights and, if it
    is there, by calibration data.

    Where the device has a cost table, or its sparse kernels want a network that fits as a whole,
    the model is converted for that, which takes seconds. If such a network cannot gain, the plan
    warns, and nothing is pruned unless a sparsity is named or the goal is "flash", for which zeros
    pay in storage.

    Args:
      model: a built `keras.Model`, or the path of a `.keras` or `.tflite` file or of a SavedModel
        folder.
      device: a profile, its name, or the path of a user's own `.toml` file.
      sparsity: fraction of zeros over the profile's prunable weights; its default if None.
      cost: in place of a sparsity, the fraction of the dense model's cost in the same number format
        that may be left, by the device's cost table or the profile's channel costs; what is removed
        is spread so that the loss per cost saved is smallest.
      goal: takes the profile's first route that serves it; the default route if None.
      route: which of the profile's routes, by its name, of those in the number format of a
        quantized `.tflite` file; "auto" is the one that the device's cost
        table expects to be fastest at its default sparsity, among those that serve the goal
        ("latency" if None) and those that leave the model dense; without such a table and for the
        goal "flash", that with the fewest bytes of weights.
      only: regular expression; layers whose path it is not found in are left alone.
      skip: regular expression; layers whose path it is found in are left alone.
      padding: "symmetric" also plans to make the padding of stride-2 convolutions symmetric, where
        the device's kernels want that; it changes the function a little, so train afterwards.
      activation: "hard-swish" and "relu6" also plan to replace swish and its kin on maps, which
        may cost more than sparse convolutions; it changes the function, so train afterwards.
      allocation: how zeros are spread over the layers; if None, as the profile says, but evenly
        without samples.
      x: samples of any kind that `open_source` takes, with or without labels; losses are measured
        on some of them.
      samples: most samples that are taken from `x`; `RECONSTRUCTION_SAMPLES` if None.
      rules: that say how custom layers hand channels on, by their class; see `channels.rule`.
      runtime: NAME or NAME==VERSION of the runtime that the file will run in; all that the profile
        lists if None, and the first of them where costs are looked up.
      max_arena: the most bytes of arena, in place of the profile's limit, on a route that packs
        weights: layers whose weights alone are more when unpacked stay dense.
      look_around: whether to look if another route of the device is faster, which takes seconds.
      signature: of a SavedModel folder that has several, the one that is taken.
      progress: told how far that is.

    Raises:
      ModelError: also for recurrent layers that keep a state from one batch to the next.
      ProfileError, PlanError: see the message.
      InputError: `samples` is not a whole number from 1 on.
    """
    # These import Keras, which planning from a list does not need.
    from edgeprune.conversion.finish import require_packing
    from edgeprune.conversion.given import as_given
    from edgeprune.conversion.routes_of_given import routes_for
    from edgeprune.keras_model.converter_copy import require_stateless
    from edgeprune.keras_model.layer_info import describe_layers
    from edgeprune.keras_model.ports import ports_of
    from edgeprune.planning.changes import change_functions
    from edgeprune.planning.converted import Converted, require_writable
    from edgeprune.planning.cost_asked import goal_within, require_fraction
    from edgeprune.planning.route_cost import RouteCosts, with_expected, with_faster
    from edgeprune.planning.subject import Subject
    from edgeprune.planning.within_cost import plan_within
    from edgeprune.pruning.reconstruct.samples import most_samples

    require_fraction(cost, sparsity)
    given = as_given(model, signature)
    listed = load_profile(device).in_runtime(runtime).within_arena(max_arena)
    offered = routes_for(given, listed, [route])
    if x is not None:
        given.require_open_batch()
    known = samples_of(x, ports_of(given.model), most_samples(samples))
    if known is not None:
        given.prove_on(known.x)
    mapped = map_layers(given.model)
    require_stateless(mapped)
    layers = describe_layers(mapped)
    require_writable(given.lifted, padding, activation)
    changes = change_functions(mapped, offered, padding, activation)
    file = Converted(changes.model, offered, given.lifted)
    costs = RouteCosts(changes.mapped, file, layers, offered, rules, only, skip)
    aim = goal
    if route == AUTO:
        best = costs.require_best(goal or "latency")
        route, aim = best.name, None if best.dense else goal
    if cost is not None:
        aim = goal_within(offered, route, goal)
    profile = offered.on(route, aim)
    require_packing(profile, max_arena)

    def at(asked: float | None) -> Plan:
        made = make_plan(
            layers,
            offered,
            sparsity=asked,
            goal=aim,
            route=route,
            only=only,
            skip=skip,
            model=given.name,
        ).model_copy(update={"padding": changes.padding, "activation": changes.activation})
        return with_islands(made, given.lifted)

    if cost is not None:
        subject = Subject(
            mapped=mapped,
            changed=changes.mapped,
            file=file,
            layers=layers,
            profile=profile,
            samples=known,
            allocation=allocation,
            rules=rules,
            at=at,
            progress=progress,
        )
        made = plan_within(subject, cost)
        made = made.model_copy(
            update={"next_step": next_step(made, offered, offered.name, signature)}
        )
        return with_faster(made, costs) if look_around else made
    made = at(sparsity)
    if any(isinstance(row.pattern, Channels) for row in made.layers):
        from edgeprune.pruning.channels.plan_removal import plan_removal

        made = plan_removal(mapped, profile, made, data=known, rules=rules)
    if profile.encoding.sparse_networks:
        from edgeprune.planning.network_gain import fit_to_network

        made = fit_to_network(made, file, profile, layers, insist=sparsity is not None)
    method = allocation or (profile.route.allocation if x is not None else "uniform")
    if method != "uniform" or x is not None:
        from edgeprune.planning.allocation import allocate, device_cost

        calibration = list(known.x) if known else None
        saved = device_cost(profile, made.goal, layers)
        made = allocate(mapped, made, method, calibration, progress, saved)
    made = with_verdict(made, layers, offered, signature)
    made = with_expected(made, file, changes.mapped, profile, rules)
    return with_faster(made, costs) if look_around else made

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
from edgeprune.planning.expectation import with_verdict
from edgeprune.planning.rules import make_plan
from edgeprune.profiles.profile import DeviceProfile, load_profile


def plan(
    model: Any,
    device: str | Path | DeviceProfile,
    *,
    sparsity: float | None = None,
    goal: Goal | None = None,
    route: str | None = None,
    only: str | None = None,
    skip: str | None = None,
    padding: Literal["keep", "symmetric"] = "keep",
    activation: Activation = "keep",
    allocation: Allocation | None = None,
    x: Any = None,
    rules: Mapping[type, Any] = MappingProxyType({}),
    progress: Progress = no_progress,
) -> Plan:
    """Plans the pruning of a Keras model for a device; the model is not changed.

    Where channels are removed, how many of each layer is weighed by the model's weights and, if it
    is there, by calibration data.

    Where the device's sparse kernels want a network that fits as a whole, the model is converted
    for that, which takes seconds. If such a network cannot gain, the plan warns, and nothing is
    pruned unless a sparsity is named or the goal is "flash", for which zeros pay in storage.

    Args:
      model: a built `keras.Model`, or the path of a `.keras` file.
      device: a profile, its name, or the path of a user's own `.toml` file.
      sparsity: fraction of zeros over the profile's prunable weights; its default if None.
      goal: takes the profile's first route that serves it; the default route if None.
      route: which of the profile's routes, by its name.
      only: regular expression; layers whose path it is not found in are left alone.
      skip: regular expression; layers whose path it is found in are left alone.
      padding: "symmetric" also plans to make the padding of stride-2 convolutions symmetric, where
        the device's kernels want that; it changes the function a little, so train afterwards.
      activation: "hard-swish" and "relu6" also plan to replace swish and its kin on maps, which
        may cost more than sparse convolutions; it changes the function, so train afterwards.
      allocation: how zeros are spread over the layers; if None, as the profile says, but evenly
        without samples.
      x: samples of any kind that `open_source` takes, with or without labels; losses are measured
        on up to `RECONSTRUCTION_SAMPLES` of them.
      rules: that say how custom layers hand channels on, by their class; see `channels.rule`.
      progress: told how far that is.

    Raises:
      ModelError: also for recurrent layers that keep a state from one batch to the next.
      ProfileError, PlanError: see the message.
    """
    # These import Keras, which planning from a list does not need.
    from edgeprune.keras_model.activations import find_activations, replace_activations
    from edgeprune.keras_model.converter_copy import require_stateless
    from edgeprune.keras_model.files import as_model, name_of
    from edgeprune.keras_model.layer_info import describe_layers
    from edgeprune.keras_model.padding import find_asymmetric, make_symmetric
    from edgeprune.keras_model.ports import ports_of
    from edgeprune.planning.allocation import allocate, device_cost
    from edgeprune.planning.network_gain import fit_to_network
    from edgeprune.pruning.reconstruct.samples import RECONSTRUCTION_SAMPLES

    name, model = name_of(model), as_model(model)
    offered = load_profile(device)
    profile = offered.on(route, goal)
    samples = samples_of(x, ports_of(model), RECONSTRUCTION_SAMPLES) if x is not None else None
    mapped = map_layers(model)
    require_stateless(mapped)
    layers = describe_layers(mapped)
    made = make_plan(
        layers,
        offered,
        sparsity=sparsity,
        goal=goal,
        route=route,
        only=only,
        skip=skip,
        model=name,
    )
    if any(isinstance(row.pattern, Channels) for row in made.layers):
        from edgeprune.pruning.channels.plan_removal import plan_removal

        made = plan_removal(mapped, profile, made, data=samples, rules=rules)
    if padding == "symmetric" and profile.symmetric_padding:
        made = made.model_copy(update={"padding": find_asymmetric(mapped)})
    if activation != "keep":
        rows = find_activations(mapped, activation)
        made = made.model_copy(update={"activation": rows})
    if profile.encoding.sparse_networks:
        changed = replace_activations(model, made.activation) if made.activation else model
        changed = make_symmetric(changed, made.padding) if made.padding else changed
        made = fit_to_network(made, changed, profile, layers, insist=sparsity is not None)
    method = allocation or (profile.route.allocation if x is not None else "uniform")
    if method != "uniform" or x is not None:
        calibration = list(samples.x) if samples else None
        cost = device_cost(profile, made.goal, layers)
        made = allocate(mapped, made, method, calibration, progress, cost)
    return with_verdict(made, layers, offered)

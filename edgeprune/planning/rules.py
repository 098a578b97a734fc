"""Applies a device's rules to a list of layers: which are pruned, how, and why not others.

Pure: a plan is made from a list of layers and a device profile, without a model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from edgeprune.core import device_matrix
from edgeprune.core.errors import PatternError, PlanError
from edgeprune.core.mask import check_sparsity
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured
from edgeprune.core.plan import LEFT_OUT, MAX_RAISED_SPARSITY, LayerInfo, LayerPlan, Plan
from edgeprune.core.spelling import suggestion, with_article
from edgeprune.core.terms import Goal
from edgeprune.planning.expectation import with_verdict
from edgeprune.planning.packing import too_few_to_pack, too_large_to_unpack
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import PatternRule, Route, Selection, Strategy


def make_plan(
    layers: Iterable[LayerInfo],
    profile: DeviceProfile,
    *,
    sparsity: float | None = None,
    goal: Goal | None = None,
    route: str | None = None,
    only: str | None = None,
    skip: str | None = None,
    model: str = "",
) -> Plan:
    """Plans from a list of layers; the pure part of `plan`.

    Layers of the prunable set that the profile's rules leave dense still count towards the asked
    sparsity, so the others are raised to make up for them (to 0.95 at most). Layers that the user
    leaves out are not made up for.
    """
    layers = tuple(layers)
    offered, profile = profile, profile.on(route, goal)
    strategy = profile.route
    asked = _asked_sparsity(strategy, sparsity)
    chosen = _chosen(layers, only, skip)
    rules = {
        layer.path: _rule_for(layer, profile, strategy, asked) if layer.path in chosen else LEFT_OUT
        for layer in layers
    }
    raised = _raised_sparsity(layers, profile, rules, chosen, asked)
    made = Plan(
        device=profile.name,
        model=model,
        route=strategy.name,
        numerics=strategy.numerics,
        goal=goal or (strategy.goals[0] if strategy.goals else "latency"),
        asked=asked,
        layers=tuple(
            _layer_plan(layer, rules[layer.path], profile, asked, raised, layer.path not in chosen)
            for layer in layers
        ),
    )
    return with_verdict(made, layers, offered)


def _asked_sparsity(strategy: Strategy, sparsity: float | None) -> float:
    if sparsity is None:
        return strategy.default_sparsity
    fixed = strategy.fixed
    try:
        check_sparsity(fixed or Unstructured(), sparsity)
    except PatternError as error:
        raise PlanError(str(error)) from error
    if fixed and not sparsity:
        raise PlanError(f"{fixed} has sparsity {fixed.sparsity:g} by definition. Received: 0.")
    return sparsity


def _chosen(layers: tuple[LayerInfo, ...], only: str | None, skip: str | None) -> set[str]:
    paths = {layer.path for layer in layers}
    kept = _matching(paths, only, "--only") if only is not None else paths
    return kept - (_matching(paths, skip, "--skip") if skip is not None else set())


def _matching(paths: set[str], expression: str, option: str) -> set[str]:
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise PlanError(
            f"{option}: expected a regular expression. Received: {expression!r} ({error})."
        ) from error
    found = {path for path in paths if compiled.search(path)}
    if not found:
        raise PlanError(
            f"{option} {expression!r} is found in no layer's path.{suggestion(expression, paths)} "
            f"Layers: {', '.join(sorted(paths))}."
        )
    return found


def _rule_for(
    layer: LayerInfo, profile: DeviceProfile, strategy: Route, asked: float
) -> PatternRule | str:
    """The rule that a layer takes at an asked sparsity, or the reason why none."""
    if not layer.parameters:
        return "no weights"
    if layer.shape is None:
        return f"patterns are not defined on the weights of {with_article(layer.kind)}"
    outside = _mismatch(layer, layer.shape, profile.prunable)
    if outside and (profile.also is None or _mismatch(layer, layer.shape, profile.also)):
        return f"{outside}: {profile.left_alone}"
    misses: list[tuple[int, str]] = []
    for rule in strategy.rules:
        conditions = (
            *_conditions(layer, layer.shape, rule),
            _misfit(layer, layer.shape, rule.pattern),
        )
        miss = next(((met, why) for met, why in enumerate(conditions) if why), None)
        if miss is None:
            return _why_not_packed(layer, profile, strategy, asked) or rule
        misses.append((miss[0], f"{miss[1]} for {rule.pattern}"))
    # The rule that comes nearest decides: the one whose first miss is behind the most conditions.
    return max(misses, key=lambda miss: miss[0])[1] if misses else profile.left_alone


def _why_not_packed(layer: LayerInfo, profile: DeviceProfile, strategy: Route, asked: float) -> str:
    """Why a layer's zeros are not worth packing on a route that packs; empty if they are."""
    if strategy.packing is None:
        return ""
    weights = math.prod(layer.shape or ())
    arena = profile.limits.arena_bytes.value
    return too_few_to_pack(weights, asked) or too_large_to_unpack(weights, arena)


def _mismatch(layer: LayerInfo, shape: tuple[int, ...], wanted: Selection) -> str:
    """Why a selection does not take a layer; empty if it does."""
    return next(filter(None, _conditions(layer, shape, wanted)), "")


def _conditions(layer: LayerInfo, shape: tuple[int, ...], wanted: Selection) -> tuple[str, ...]:
    """For each condition of a selection, the coarsest first, why a layer misses it, or nothing."""
    outputs, inputs = device_matrix.device_shape(layer.kind, shape)
    positions = inputs // device_matrix.input_channels(layer.kind, shape)
    pixels, stride = layer.pixels, max(layer.strides, default=1)
    checks = (
        (layer.kind in wanted.kinds, with_article(layer.kind)),
        (wanted.kernel == "any" or positions == 1, f"a kernel of {positions} positions, not 1x1"),
        (
            pixels is None or pixels >= wanted.min_pixels,
            f"a feature map of {pixels} pixel, fewer than {wanted.min_pixels}",
        ),
        (
            layer.feeds_map or not wanted.feeds_map,
            "outputs that do not go back into a feature map",
        ),
        (outputs >= wanted.min_outputs, f"{outputs} outputs, fewer than {wanted.min_outputs}"),
        (inputs >= wanted.min_inputs, f"{inputs} inputs, fewer than {wanted.min_inputs}"),
        (stride == 1 or not wanted.stride_one, f"stride {stride}, not 1"),
        (layer.groups == 1 or not wanted.ungrouped, f"{layer.groups} groups, not 1"),
    )
    return tuple("" if met else why for met, why in checks)


def _misfit(layer: LayerInfo, shape: tuple[int, ...], pattern: Pattern) -> str:
    """Why a pattern cannot pay on a layer; empty if it can."""
    outputs = device_matrix.device_shape(layer.kind, shape)[0]
    match pattern:
        case Channels(multiple) if layer.feeds_output:
            return "its output channels are the model's outputs and must stay"
        case Channels(multiple) if outputs <= multiple:
            return f"{outputs} outputs, no more than the {multiple} that must stay,"
        case NofM(_, m) if device_matrix.input_channels(layer.kind, shape) % m:
            channels = device_matrix.input_channels(layer.kind, shape)
            return f"{channels} input channels, not a multiple of {m},"
        case _:
            return ""


def _in_set(layer: LayerInfo, profile: DeviceProfile) -> bool:
    return layer.shape is not None and not _mismatch(layer, layer.shape, profile.prunable)


def _raised_sparsity(
    layers: tuple[LayerInfo, ...],
    profile: DeviceProfile,
    rules: dict[str, PatternRule | str],
    chosen: set[str],
    asked: float,
) -> float:
    """The sparsity of the layers that can be pruned, so that all chosen ones reach `asked`."""
    counted = [layer for layer in layers if layer.path in chosen and _in_set(layer, profile)]
    covered = [layer for layer in counted if isinstance(rules[layer.path], PatternRule)]
    weights = sum(math.prod(layer.shape or ()) for layer in counted)
    coverable = sum(math.prod(layer.shape or ()) for layer in covered)
    if coverable in (0, weights):
        return asked
    return max(asked, min(asked * weights / coverable, MAX_RAISED_SPARSITY))


def _layer_plan(
    layer: LayerInfo,
    rule: PatternRule | str,
    profile: DeviceProfile,
    asked: float,
    raised: float,
    left_out: bool,
) -> LayerPlan:
    pattern = rule.pattern if isinstance(rule, PatternRule) else None
    match pattern:
        case None:
            sparsity = 0.0
        case NofM():
            sparsity = pattern.sparsity if asked else 0.0
        case Unstructured() | Block():
            sparsity = raised
        case Channels():
            sparsity = asked
    return LayerPlan(
        path=layer.path,
        kind=layer.kind,
        shape=layer.shape or (),
        pattern=pattern,
        sparsity=sparsity,
        reason=rule.because if isinstance(rule, PatternRule) else rule,
        prunable=_in_set(layer, profile),
        left_out=left_out,
    )

"""Every route of phones, boards and microcontrollers goes from a plan to a file that is right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeprune.conversion.convert import export
from edgeprune.conversion.route_of_file import on_route_of
from edgeprune.core.plan import Plan
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.profiles.rules import Route
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.targets.checks import numerics
from edgeprune.tflite.format.file import read
from tests.support.architectures import build, samples

ALIKE = ("android-phone", "android-phone-2023", "raspberry-pi-5")
"""Devices whose routes differ in their sources and in what a channel costs alone."""
CASES = [
    *((ALIKE[0], route.name) for route in load_profile(ALIKE[0]).offered),
    *(("raspberry-pi-4", name) for name in ("int8-channels", "sparse")),
    *(("cortex-m-tflm", name) for name in ("latency", "decode")),
]
"""On a core without dot product and fp16 the routes are the same, but for those that it lacks."""


@dataclass(frozen=True)
class Made:
    """A file that was made on a route, and what it was made from."""

    plan: Plan
    path: Path
    reference: Path
    x: list[Any]


def make(device: str | DeviceProfile, route: str, folder: Path) -> Made:
    """A small network, pruned and exported on a route of a device."""
    model = build("mobilenet_v1")
    x = samples(model, 16)
    made = plan(model, device, route=route)
    pruned = prune_one_shot(model, made) if made.pruned else model
    save_model(pruned, folder / "m.keras")
    export(pruned, device, folder / "m.tflite", x=x, plan=made)
    return Made(made, folder / "m.tflite", folder / "m.keras", x)


def essence(route: Route) -> Any:
    """What a route does, without sources."""
    rules = [rule.model_dump(exclude={"because", "source"}) for rule in route.rules]
    kept = {"name", "numerics", "goals", "default_sparsity", "needs", "prunable", "also"}
    return rules, route.model_dump(include=kept), route.encoding is None


@pytest.mark.parametrize("name", ALIKE[1:])
def test_devices_with_a_dot_product_have_the_same_routes(name: str) -> None:
    first, other = load_profile(ALIKE[0]), load_profile(name)
    assert list(map(essence, other.offered)) == list(map(essence, first.offered))


@pytest.mark.slow
@pytest.mark.parametrize(("device", "route"), CASES)
def test_every_route_ends_in_a_file_of_its_number_format_that_is_right(
    device: str, route: str, tmp_path: Path
) -> None:
    profile = load_profile(device)
    made = make(device, route, tmp_path)
    graph, wanted = read(made.path), profile.on(route).route
    assert bool(made.plan.pruned) is not wanted.dense
    assert {row.pattern for row in made.plan.pruned} <= {rule.pattern for rule in wanted.rules}
    assert numerics(graph) == wanted.numerics
    assert on_route_of(graph, profile).route.name == route
    verdict = validate(made.path, device, reference=made.reference, x=made.x)
    assert verdict.ok, verdict
    assert {check.kind for check in verdict.checks if check.ok} >= {"runs", "outputs", "numerics"}


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize("route", ["int8-channels", "sparse", "float16-channels", "dynamic-range"])
def test_every_number_format_is_right_on_arm64(route: str, tmp_path: Path) -> None:
    made = make("android-phone", route, tmp_path)
    verdict = validate(made.path, "android-phone", reference=made.reference, x=made.x)
    assert verdict.ok, verdict
    names = [check.name for check in verdict.checks if check.kind == "outputs"]
    assert any("on emulated cortex-a76" in name for name in names), names

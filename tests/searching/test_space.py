"""The space of a search: which routes of which devices compete, and what is tried on them."""

from __future__ import annotations

import pytest

from edgeprune.core.errors import InputError, ProfileError, TargetError
from edgeprune.profiles.profile import load_profile
from edgeprune.searching.budget import Budget
from edgeprune.searching.space import (
    CHANNEL_COSTS,
    ZEROS_COSTS,
    ZEROS_SPARSITIES,
    FrontKey,
    Space,
    candidates,
    space_of,
)


def space(*devices: str, routes: tuple[str, ...] | None = None, epochs: int = 0) -> Space:
    profiles = [load_profile(each) for each in devices]
    return space_of(profiles, routes, Budget(max_drop=0.01), epochs, 0, None, None)


@pytest.fixture(autouse=True)
def _no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is set up on this computer."""
    monkeypatch.setattr("edgeprune.targets.measuring.default_target", lambda _: None)


def test_a_phone_has_four_references_and_four_pruned_routes_by_cost() -> None:
    found = space("android-phone")
    assert [each.route for each in found.references] == [
        "float32",
        "float16-arithmetic",
        "int8",
        "dynamic-range",
    ]
    assert {each.route: (each.knob, each.values) for each in found.pruned} == {
        "int8-channels": ("cost", CHANNEL_COSTS),
        "sparse": ("cost", ZEROS_COSTS),
        "float16-channels": ("cost", CHANNEL_COSTS),
        "float32-channels": ("cost", CHANNEL_COSTS),
    }


def test_a_device_without_dense_routes_has_a_reference_in_each_number_format() -> None:
    (reference,) = space("ethos-u55").references
    (candidate,) = reference.tried_first()
    assert (candidate.route, candidate.sparsity, candidate.cost) == ("flash", 0.0, None)


def test_a_route_that_serves_flash_alone_is_tried_by_sparsity_and_two_of_four_as_it_is() -> None:
    flash, latency = space("ethos-u55").pruned
    assert (flash.knob, flash.values) == ("sparsity", ZEROS_SPARSITIES)
    assert latency.knob == "cost"
    (fixed,) = space("ethos-u85").pruned
    assert (fixed.knob, fixed.fixed) == (None, True)
    assert [each.sparsity for each in fixed.tried_first()] == [None]


def test_routes_that_the_core_cannot_run_are_left_out() -> None:
    names = {each.route for each in space("raspberry-pi-4").routes}
    assert "float16-channels" not in names
    assert "int8-channels" in names


def test_only_the_routes_that_were_named_are_pruned_beside_all_references() -> None:
    found = space("android-phone", routes=("sparse",))
    assert [each.route for each in found.pruned] == ["sparse"]
    assert len(found.references) == 4


@pytest.mark.parametrize(
    ("devices", "routes", "words"),
    [
        (("android-phone",), ("int8-chanels",), "Did you mean 'int8-channels'?"),
        (("android-phone", "ethos-u85"), ("sparse",), "ethos-u85: expected one of its routes"),
        (("raspberry-pi-4",), ("float16-channels",), "raspberry-pi-4: expected one of its routes"),
    ],
)
def test_a_route_that_a_device_does_not_have_is_named_with_those_it_has(
    devices: tuple[str, ...], routes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ProfileError) as error:
        space(*devices, routes=routes)
    assert words in str(error.value)


def test_devices_of_one_core_compete_and_others_do_not() -> None:
    found = space("android-phone", "raspberry-pi-5", "raspberry-pi-4")
    assert found.fronts == (
        FrontKey(None, "cortex-a76", "instructions"),
        FrontKey(None, "cortex-a72", "instructions"),
    )


def test_an_accelerator_is_its_own_core() -> None:
    assert {key.core for key in space("ethos-u55", "ethos-u85").fronts} == {
        load_profile("ethos-u55").vela.accelerator,  # type: ignore[union-attr]
        load_profile("ethos-u85").vela.accelerator,  # type: ignore[union-attr]
    }


def test_a_highest_cost_is_refused_for_devices_of_several_units() -> None:
    profiles = [load_profile("android-phone"), load_profile("ethos-u85")]
    with pytest.raises(InputError, match="instructions") as error:
        space_of(profiles, None, Budget(max_cost=1e6), 0, 0, None, None)
    assert "bytes" in str(error.value)


def test_a_target_that_does_not_measure_the_device_is_refused() -> None:
    with pytest.raises(TargetError, match="does not measure android-phone"):
        space_of([load_profile("android-phone")], None, Budget(), 0, 0, None, "host")


def test_candidates_are_the_same_each_time_and_each_is_there_once() -> None:
    first, second = (candidates(space("android-phone", epochs=4)) for _ in range(2))
    assert first == second
    assert len({each.key for each in first}) == len(first)
    assert {each.epochs for each in first} == {0, 4}
    assert {each.padding for each in first if each.route == "sparse"} == {"keep", "symmetric"}
    assert {each.activation for each in first if each.epochs} == {"keep", "hard-swish"}

"""Routes: what a profile of schema 2 offers, and what a profile is once one is chosen."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from edgeprune.core.errors import ProfileError
from edgeprune.core.pattern import Block, Channels, NofM, Pattern, Unstructured
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.profile import DeviceProfile, load_profile
from tests.support.profiles import profile, rule, strategy


def route(name: str, numerics: str = "int8", **changes: Any) -> dict[str, Any]:
    """A route that removes channels, as a profile's file has it."""
    made = {
        "name": name,
        "numerics": numerics,
        "goals": ("latency",),
        "default_sparsity": 0.5,
        "rules": (rule(Channels(8)),),
        "source": "a test",
    }
    return {**made, **changes}


def phone(*routes: dict[str, Any], **changes: Any) -> DeviceProfile:
    """A profile of schema 2 with these routes."""
    base = profile().model_dump(by_alias=True)
    made = {"schema": 2, "strategies": (), "routes": routes, "numerics": routes[0]["numerics"]}
    return DeviceProfile.model_validate({**base, **made, **changes})


SPARSE = route(
    "sparse",
    "float32",
    default_sparsity=0.8,
    goals=("latency", "flash"),
    rules=(rule(Block(2, 1)),),
    prunable={"kernel": "1x1"},
    left_alone="only 1x1 has a kernel",
    symmetric_padding=True,
    per_channel_dense=True,
)
DENSE = route("dense-int8", goals=(), rules=(), default_sparsity=0.0)


def test_the_first_route_is_the_default_and_dense_ones_have_no_rules() -> None:
    made = phone(route("half"), SPARSE, DENSE)
    assert [route.name for route in made.offered] == ["half", "sparse", "dense-int8"]
    assert made.route.name == made.on().route.name == "half"
    assert [route.dense for route in made.offered] == [False, False, True]


def test_on_a_route_everything_is_said_in_its_number_format() -> None:
    made = phone(route("half"), SPARSE, also={"kinds": ("Dense",)})
    assert made.left_alone != "only 1x1 has a kernel"
    on = made.on("sparse")
    assert [route.name for route in on.offered] == ["sparse"]
    assert on.numerics == "float32"
    assert on.prunable.kernel == "1x1"
    assert on.also is None
    assert on.left_alone == "only 1x1 has a kernel"
    assert (on.symmetric_padding, on.per_channel_dense) == (True, True)
    assert on.strategy("flash") == made.offered[1]
    unchanged = made.on("half")
    assert (unchanged.prunable, unchanged.also) == (made.prunable, made.also)
    assert DeviceProfile.model_validate(on.model_dump(by_alias=True)) == on


def test_a_goal_takes_the_first_route_that_serves_it() -> None:
    made = phone(route("half"), SPARSE, route("small", goals=("flash",)))
    assert made.on(goal="latency").route.name == "half"
    assert made.on(goal="flash").route.name == "sparse"
    assert made.on("small", "flash").route.name == "small"
    with pytest.raises(
        ProfileError, match="that route 'half' serves, one of latency. Received: fl"
    ):
        made.on("half", "flash")
    with pytest.raises(ProfileError, match="one of latency, flash. Received: memory"):
        made.on(goal="memory")


def test_an_unknown_route_names_the_nearest_and_all() -> None:
    with pytest.raises(ProfileError, match="'halv'.*Did you mean 'half'.*: half, sparse"):
        phone(route("half"), SPARSE).on("halv")


@pytest.mark.parametrize(
    ("core", "needs", "lacking"),
    [
        ("cortex-a72", ("dot-product",), "dot-product"),
        ("cortex-a53", ("dot-product", "fp16-arithmetic"), "dot-product and fp16-arithmetic"),
        ("cortex-a76", ("dot-product", "fp16-arithmetic"), ""),
        ("cortex-a72", (), ""),
    ],
)
def test_a_route_wants_what_its_core_has(core: str, needs: tuple[str, ...], lacking: str) -> None:
    made = phone(route("half"), route("fast", needs=needs), core=core)
    if lacking:
        with pytest.raises(ProfileError, match=f"'fast' needs {lacking}, which the core {core}"):
            made.on("fast")
    else:
        assert made.on("fast").route.name == "fast"


@pytest.mark.parametrize("name", profile_names())
def test_every_route_whose_needs_the_core_meets_can_be_taken(name: str) -> None:
    made = load_profile(name)
    for offered in made.offered:
        if made.lacks(offered):
            with pytest.raises(ProfileError, match=f"needs fp16-arithmetic.*core {made.core}"):
                made.on(offered.name)
        else:
            assert made.on(offered.name).route == offered


def test_a_route_has_a_channel_cost_of_its_own_or_the_profiles() -> None:
    own = {"compute_inputs": 8, "macs_per_byte": 3, "source": "a test of the route"}
    made = phone(route("half", channel_cost=own), route("other"))
    assert made.on("half").channel_cost.compute_inputs == 8
    assert made.on("other").channel_cost == made.channel_cost != made.on("half").channel_cost


@pytest.mark.parametrize("pattern", [Block(2, 1), Unstructured(), NofM(2, 4)])
def test_half_precision_takes_no_zeros_in_weights_but_whole_channels(pattern: Pattern) -> None:
    wrong = route("h", "float16-arithmetic", rules=(rule(Channels(16)), rule(pattern)))
    with pytest.raises(ValidationError, match=re.escape(f"Received: {pattern}")):
        phone(route("half"), wrong)
    with pytest.raises(ValidationError, match=re.escape(f"Received: {pattern}")):
        profile(rule(pattern), numerics="float16-arithmetic")
    assert phone(route("half"), {**wrong, "numerics": "float32"}).on("h").route.rules


def test_half_precision_is_never_stored_sparsely_whatever_the_profile_says() -> None:
    sparse = {"runtimes": ("LiteRT",), "sparse_networks": True, "source": "a test of storage"}
    halves = route("h", "float16-arithmetic", encoding=sparse)
    made = phone(route("half"), halves, encoding=sparse)
    assert made.on("half").encoding.sparse_networks
    assert made.on("h").encoding.runtimes == ()
    assert not made.on("h").encoding.sparse_networks


def test_strategies_of_schema_1_are_routes_by_their_first_goals() -> None:
    made = profile(
        strategies=(
            strategy(rule(Channels(8)), goals=("latency", "memory")),
            strategy(goals=("flash",)),
            strategy(goals=()),
        ),
        numerics="int8",
    )
    assert [route.name for route in made.offered] == ["latency", "flash", "strategy-3"]
    assert {route.numerics for route in made.offered} == {"int8"}
    assert made.offered[0].rules == made.strategies[0].rules
    assert made.on("flash").route.goals == ("flash",)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"routes": (route("a"), route("a"))}, "must be unique. Received twice: a"),
        ({"routes": ()}, "routes: expected at least one"),
        ({"numerics": "float32"}, "expected that of the first route, int8. Received: float32"),
        ({"schema": 1}, "strategies: expected at least one"),
        ({"strategies": (strategy(),)}, "schema 2 has routes in their place"),
        ({"routes": (route("auto"),)}, "'auto' means the route"),
        ({"routes": (route("A b"),)}, "String should match pattern"),
        ({"routes": (route("a", runtimes=("TFLM",)),)}, "route 'a': runtimes: expected names"),
        (
            {
                "routes": (
                    route("int8"),
                    route("h", "float16-arithmetic", rules=(rule(Block(2, 1)),)),
                )
            },
            "route 'h': expected Channels(multiple) or no rules with float16-arithmetic, since",
        ),
    ],
)
def test_what_is_wrong_with_routes_is_said(changes: dict[str, Any], said: str) -> None:
    content = phone(route("half")).model_dump(by_alias=True)
    with pytest.raises(ValidationError, match=re.escape(said)):
        DeviceProfile.model_validate({**content, **changes})

"""What is promised of each profile that comes with edgeprune: patterns, sparsities, instruments."""

from __future__ import annotations

import re
from typing import Any

import pytest

from edgeprune.core.pattern import Block, Channels, NofM, Unstructured
from edgeprune.core.plan import LayerInfo, Plan
from edgeprune.core.terms import Goal
from edgeprune.planning.rules import make_plan
from edgeprune.profiles.encoding import runtimes_of
from edgeprune.profiles.folder import profile_folder, profile_names, read_toml
from edgeprune.profiles.hardware import Hardware
from edgeprune.profiles.kernel_costs import costs_of
from edgeprune.profiles.profile import load_profile
from edgeprune.tflite.op_versions import op_versions

NAMES = (
    "android-phone",
    "android-phone-2023",
    "arm-neon-int8",
    "cortex-m-tflm",
    "edge-tpu",
    "ethos-u55",
    "ethos-u85",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "xnnpack-arm64",
    "xnnpack-x86",
)
WITH_ROUTES = ("android-phone", "android-phone-2023", "raspberry-pi-4", "raspberry-pi-5")
"""Those of schema 2."""


def test_the_devices_of_the_command_line_contract_are_there() -> None:
    assert profile_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_named_after_its_file_and_every_fact_has_a_source(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name == read_toml(profile_folder() / f"{name}.toml")["name"]
    sourced: list[Any] = [
        *(rule for route in profile.offered for rule in route.rules),
        *(route.gain for route in profile.offered if route.gain),
        *profile.routes,
        *profile.runtimes,
        *profile.facts,
        profile.limits.flash_bytes,
        profile.limits.arena_bytes,
        profile.limits.on_chip_bytes,
    ]
    assert all(len(entry.source) > 10 for entry in sourced)


@pytest.mark.parametrize("name", NAMES)
def test_the_operators_of_every_runtime_a_profile_names_are_known(name: str) -> None:
    for runtime in load_profile(name).runtimes:
        assert f"{runtime.name} {runtime.version}" in op_versions()


@pytest.mark.parametrize("name", NAMES)
def test_the_cost_table_of_a_profile_is_of_its_core_and_knows_its_runtimes(name: str) -> None:
    profile = load_profile(name)
    if profile.costs is None:
        return
    table = costs_of(profile)
    assert table is not None
    assert table.core == profile.core
    for runtime in runtimes_of(profile):
        known = table.of(runtime)
        assert known is not None
        for route in profile.offered:
            assert profile.lacks(route) or known.in_format(route.numerics) is not None


def test_broad_profiles_list_many_products_and_every_one_has_a_source() -> None:
    counts = {name: len(load_profile(name).hardware) for name in NAMES}
    assert all(counts.values())
    broad = (
        *("android-phone", "android-phone-2023"),
        *("arm-neon-int8", "cortex-m-tflm", "xnnpack-arm64", "xnnpack-x86"),
    )
    assert all(counts[name] >= 25 for name in broad)
    products = [hardware for name in NAMES for hardware in load_profile(name).hardware]
    assert all(len(hardware.source) > 10 for hardware in products)


def test_a_product_in_several_profiles_is_the_same_there_and_one_of_them_is_best() -> None:
    found: dict[str, list[Hardware]] = {}
    for name in NAMES:
        for hardware in load_profile(name).hardware:
            found.setdefault(hardware.name, []).append(hardware)
    for entries in found.values():
        alike = {entry.model_copy(update={"rank": 1, "note": None}) for entry in entries}
        assert len(alike) == 1
        assert sorted(entry.rank for entry in entries) == list(range(1, len(entries) + 1))


def test_cores_without_fp16_arithmetic_have_a_note_where_a_runtime_needs_it() -> None:
    old = re.compile(r"Cortex-A(35|53|57|72|73)\b")
    for hardware in load_profile("xnnpack-arm64").hardware:
        assert bool(old.search(hardware.cores)) is ("no fp16" in (hardware.note or ""))


DEFAULTS = {
    "android-phone": ("int8", "latency", 0.5, "arm64-emulated"),
    "android-phone-2023": ("int8", "latency", 0.5, "arm64-emulated"),
    "raspberry-pi-4": ("int8", "latency", 0.5, "arm64-emulated"),
    "raspberry-pi-5": ("int8", "latency", 0.5, "arm64-emulated"),
    "arm-neon-int8": ("int8", "latency", 0.5, "arm64-emulated"),
    "cortex-m-tflm": ("int8", "latency", 0.5, "tflm"),
    "edge-tpu": ("int8", "latency", 0.5, "edgetpu-model"),
    "ethos-u55": ("int8", "flash", 0.8, "vela"),
    "ethos-u85": ("int8", "latency", 0.5, "vela"),
    "xnnpack-arm64": ("float32", "latency", 0.8, "arm64-emulated"),
    "xnnpack-x86": ("float32", "latency", 0.5, "host"),
}


@pytest.mark.parametrize("name", NAMES)
def test_numbers_goal_sparsity_and_instrument_by_default(name: str) -> None:
    profile = load_profile(name)
    first = profile.strategy()
    found = (profile.numerics, first.goals[0], first.default_sparsity, profile.targets[0])
    assert found == DEFAULTS[name]


@pytest.mark.parametrize("name", WITH_ROUTES)
def test_a_phone_and_a_board_offer_the_routes_of_their_processor(name: str) -> None:
    """int8 with channels removed first, the dense ones last: a goal never takes these."""
    profile = load_profile(name)
    found = [(route.name, route.numerics, route.dense) for route in profile.offered]
    assert found == [
        ("int8-channels", "int8", False),
        ("sparse", "float32", False),
        ("float16-channels", "float16-arithmetic", False),
        ("float32-channels", "float32", False),
        ("float32", "float32", True),
        ("float16-arithmetic", "float16-arithmetic", True),
        ("int8", "int8", True),
        ("dynamic-range", "dynamic-range", True),
    ]
    assert all(bool(route.goals) is not route.dense for route in profile.offered)
    halves = {route.name for route in profile.offered if route.numerics == "float16-arithmetic"}
    lacking = {route.name for route in profile.offered if profile.lacks(route)}
    assert lacking == (halves if profile.core == "cortex-a72" else set())
    assert {runtime.name for runtime in profile.runtimes} == {"LiteRT"}


@pytest.mark.parametrize("name", WITH_ROUTES)
def test_zeros_are_stored_on_the_sparse_route_alone(name: str) -> None:
    profile = load_profile(name)
    able = [route for route in profile.offered if not profile.lacks(route)]
    sparse = [r.name for r in able if profile.on(r.name).encoding.sparse_networks]
    assert sparse == [r.name for r in able if profile.on(r.name).encoding.runtimes] == ["sparse"]
    own, old = profile.on("sparse"), load_profile("xnnpack-arm64").on()
    assert own.prunable == old.prunable
    assert own.also == old.also
    assert own.symmetric_padding
    assert [(r.pattern, r.kinds) for r in own.route.rules] == [
        (r.pattern, r.kinds) for r in old.route.rules
    ]


@pytest.mark.parametrize(
    ("name", "goal", "pattern"),
    [
        ("xnnpack-arm64", None, Block(2, 1)),
        ("xnnpack-x86", None, Channels(8)),
        ("xnnpack-x86", "flash", Block(1, 4)),
        ("arm-neon-int8", None, Channels(16)),
        ("arm-neon-int8", "flash", Block(1, 16)),
        ("edge-tpu", None, Channels(16)),
        ("edge-tpu", "memory", Channels(64)),
        ("ethos-u85", "latency", NofM(2, 4)),
        ("ethos-u55", None, Unstructured()),
        ("ethos-u55", "latency", Channels(16)),
        ("cortex-m-tflm", "memory", Channels(4)),
        *(("raspberry-pi-4", goal, Channels(16)) for goal in (None, "latency", "flash", "memory")),
        *(("raspberry-pi-5", goal, Channels(16)) for goal in (None, "latency", "flash", "memory")),
        *(("android-phone", goal, Channels(16)) for goal in (None, "latency", "flash", "memory")),
    ],
)
def test_the_pattern_that_pays_is_the_one_of_the_device_table(
    name: str, goal: Any, pattern: Any
) -> None:
    assert load_profile(name).strategy(goal).rules[0].pattern == pattern


def conv(path: str, shape: tuple[int, ...], pixels: int = 64, **facts: Any) -> LayerInfo:
    return LayerInfo(path, "Conv2D", shape, shape[-1] * shape[-2], pixels, **facts)


def patterns(plan: Plan) -> dict[str, Any]:
    return {row.path: row.pattern for row in plan.layers if row.pattern}


def test_xnnpack_takes_1x1_convolutions_of_stride_1_and_squeeze_and_excite() -> None:
    layers = (
        conv("stem", (3, 3, 3, 32)),
        conv("pw", (1, 1, 32, 64)),
        conv("down", (1, 1, 64, 64), strides=(2, 2)),
        conv("squeeze", (1, 1, 64, 16), pixels=1),
        conv("excite", (1, 1, 16, 64), pixels=1, feeds_map=True),
    )
    plan = make_plan(layers, load_profile("xnnpack-arm64"))
    assert patterns(plan) == {"pw": Block(2, 1), "excite": Block(2, 1)}
    assert [row.path for row in plan.layers if row.prunable] == ["pw", "down"]


@pytest.mark.parametrize(
    ("goal", "classes", "pruned"),
    [
        ("latency", 10, {"pw"}),
        ("latency", 1000, {"pw", "classes"}),
        ("flash", 10, {"pw", "classes"}),
    ],
)
def test_xnnpack_takes_a_classifier_along_where_it_is_wide_or_storage_counts(
    goal: Goal, classes: int, pruned: set[str]
) -> None:
    classifier = LayerInfo("classes", "Dense", (256, classes), 256 * classes, 1, feeds_output=True)
    plan = make_plan(
        (conv("pw", (1, 1, 256, 256)), classifier), load_profile("xnnpack-arm64"), goal=goal
    )
    assert patterns(plan) == dict.fromkeys(pruned, Block(2, 1))
    assert [row.prunable for row in plan.layers] == [True, False]


def test_the_edge_tpu_removes_64_channels_of_wide_layers_only_for_memory() -> None:
    layers = (conv("wide", (1, 1, 64, 128)), conv("narrow", (1, 1, 64, 64)))
    profile = load_profile("edge-tpu")
    assert patterns(make_plan(layers, profile, goal="memory")) == {
        "wide": Channels(64),
        "narrow": Channels(16),
    }
    assert set(patterns(make_plan(layers, profile)).values()) == {Channels(16)}

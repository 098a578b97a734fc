from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tomllib

from edgeprune.core.errors import ProfileError
from edgeprune.core.pattern import Block, Channels, NofM, Unstructured
from edgeprune.profiles.profile import load_profile, profile_folder, profile_names
from edgeprune.tflite.op_versions import op_versions

NAMES = (
    "arm-neon-int8",
    "cortex-m-tflm",
    "edge-tpu",
    "ethos-u55",
    "ethos-u85",
    "xnnpack-arm64",
    "xnnpack-x86",
)


def own_profile(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the edge-tpu profile with pieces of text replaced."""
    text = (profile_folder() / "edge-tpu.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "own.toml"
    path.write_text(text)
    return path


def test_the_seven_devices_are_there() -> None:
    assert profile_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_named_after_its_file_and_every_fact_has_a_source(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    sourced: list[Any] = [
        *(rule for strategy in profile.strategies for rule in strategy.rules),
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
    ],
)
def test_the_pattern_that_pays_is_the_one_of_the_device_table(
    name: str, goal: Any, pattern: Any
) -> None:
    assert load_profile(name).strategy(goal).rules[0].pattern == pattern


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_profile("edge-tpu").name = "other"


def test_an_own_profile_is_given_by_path(tmp_path: Path) -> None:
    path = own_profile(tmp_path, ('name = "edge-tpu"', 'name = "my-board"'))
    assert load_profile(path).name == "my-board"
    assert load_profile(str(path)).name == "my-board"


def test_a_limit_is_a_number_or_unknown(tmp_path: Path) -> None:
    assert load_profile("edge-tpu").limits.flash_bytes.value is None
    path = own_profile(
        tmp_path, ('flash_bytes = { value = "unknown"', "flash_bytes = { value = 65536")
    )
    assert load_profile(path).limits.flash_bytes.value == 65536


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("numerics =", "numeriks =", "unknown key 'numeriks'. Did you mean 'numerics'?"),
        ("flash_bytes =", "flashbytes =", "unknown key 'limits.flashbytes'. Did you mean"),
        ("  pattern =", "  patern =", "unknown key 'strategies.0.rules.0.patern'"),
        ("schema = 1", "schema = 2", "reads schema 1. Received: 2"),
        ("schema = 1", "", "key 'schema' is missing"),
        ('"Channels(16)"', '"Channels(x)"', "Expected Channels(multiple) with whole numbers"),
        ('"Dense", ', '"Dence", ', "unknown layer kind 'Dence'. Did you mean 'Dense'?"),
        ("default_sparsity = 0.5", "default_sparsity = 1.5", "strategies.0.default_sparsity"),
        ("default_sparsity = 0.5", "default_sparsity = nan", "strategies.0.default_sparsity"),
        ('goals = ["memory"]', 'goals = ["flash"]', "each goal must be unique"),
        ('goals = ["memory"]', 'goals = ["speed"]', "strategies.1.goals.0"),
        ('name = "edge-tpu"', 'name = "Edge TPU"', "name"),
        ('source = "the file is kept by the host computer"', 'source = ""', "flash_bytes.source"),
        ("value = 8283750", "value = -1", "limits.on_chip_bytes.value"),
        ('targets = ["edgetpu-model"]', "targets = []", "targets: expected at least one"),
        ("schema = 1", "schema = ", "expected TOML"),
    ],
)
def test_what_is_wrong_in_a_profile_is_said_with_the_key(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = own_profile(tmp_path, (old, new))
    with pytest.raises(ProfileError, match=re.escape(said)) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)


def test_an_unknown_device_names_the_nearest_and_all_others() -> None:
    with pytest.raises(ProfileError, match=r"Did you mean 'edge-tpu'\?.*xnnpack-x86"):
        load_profile("edgetpu")


def test_a_device_is_a_name_and_never_a_path_in_disguise() -> None:
    with pytest.raises(ProfileError, match="Unknown device"):
        load_profile("../device_profiles/edge-tpu")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_profile_that_cannot_be_read_names_its_path(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "gone.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProfileError, match=re.escape(str(path))):
        load_profile(path)


def test_a_goal_that_a_profile_does_not_serve_is_refused(tmp_path: Path) -> None:
    path = own_profile(tmp_path, ('goals = ["memory"]', "goals = []"))
    with pytest.raises(ProfileError, match="one of latency, flash"):
        load_profile(path).strategy("memory")


def test_profiles_are_plain_toml() -> None:
    for name in NAMES:
        with (profile_folder() / f"{name}.toml").open("rb") as file:
            assert tomllib.load(file)["name"] == name

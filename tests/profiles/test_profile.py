from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.errors import ProfileError
from edgeprune.profiles.profile import load_profile
from tests.support.profiles import changed_profile


def own_profile(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    return changed_profile(tmp_path / "own.toml", "edge-tpu", *changes)


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
        ("schema = 1", "schema = 3", "reads schema 1 and 2. Received: 3"),
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
    with pytest.raises(ProfileError, match=r"Closest: edge-tpu.*xnnpack-x86"):
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


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ("{a=" * 3000 + "1" + "}" * 3000, "nested too deeply"),
        ("9" * 6000, "expected TOML"),
        ("0x" + "f" * 20_000, "key 'schema'"),
        ("1e400", "key 'schema'"),
        ("nan", "key 'schema'"),
        ("1979-05-27", "key 'schema'"),
        ("{a.b = [1]}", "key 'schema'"),
    ],
)
def test_a_profile_that_is_hostile_is_refused_in_a_few_words(
    tmp_path: Path, value: str, said: str
) -> None:
    changes = ("schema = 1", f"schema = {value}")
    path = changed_profile(tmp_path / "mine.toml", "xnnpack-arm64", changes)
    with pytest.raises(ProfileError, match=said) as caught:
        load_profile(path)
    assert len(str(caught.value)) < 1000
    assert str(path) in str(caught.value)

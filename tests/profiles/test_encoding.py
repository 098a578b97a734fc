from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeprune.core.errors import ProfileError
from edgeprune.core.runtime import Runtime
from edgeprune.core.terms import Core
from edgeprune.profiles.encoding import rules_of, runtimes_of
from edgeprune.profiles.facts import RequiredRuntime
from edgeprune.profiles.profile import load_profile
from tests.support.profiles import changed_profile


def own_profile(folder: Path, old: str, new: str) -> Path:
    return changed_profile(folder / "own.toml", "xnnpack-arm64", (old, new))


def test_the_runtimes_of_a_profile_are_values_in_its_order() -> None:
    expected = (
        Runtime("tflite-runtime", "2.14.0"),
        Runtime("LiteRT", "2.1.6"),
        Runtime("LiteRT", "2.3.0"),
    )
    assert runtimes_of(load_profile("xnnpack-arm64")) == expected


def test_names_under_encoding_mean_the_profiles_own_versions(tmp_path: Path) -> None:
    profile = load_profile(own_profile(tmp_path, 'version = "2.1.6"', 'version = "2.2.0"'))
    assert rules_of(profile).runtimes == (
        Runtime("tflite-runtime", "2.14.0"),
        Runtime("LiteRT", "2.2.0"),
        Runtime("LiteRT", "2.3.0"),
    )


def test_runtimes_that_read_nothing_sparse_are_not_in_the_rules() -> None:
    profile = load_profile("edge-tpu")
    assert runtimes_of(profile)
    assert rules_of(profile).runtimes == ()


TFLITE_RUNTIME = RequiredRuntime(name="tflite-runtime", version="2.14.0", source="imagined")
LITERT = RequiredRuntime(name="LiteRT", version="2.1.6", source="imagined")


@pytest.mark.parametrize(
    ("core", "runtimes", "gains"),
    [
        ("cortex-a53", (TFLITE_RUNTIME,), False),
        ("cortex-a72", (TFLITE_RUNTIME,), False),
        ("cortex-a76", (TFLITE_RUNTIME,), True),
        ("cortex-a72", (LITERT,), True),
        ("cortex-a72", (TFLITE_RUNTIME, LITERT), True),
    ],
)
def test_zeros_gain_where_a_runtime_skips_them_on_the_core(
    core: Core, runtimes: tuple[RequiredRuntime, ...], gains: bool
) -> None:
    changed = {"core": core, "runtimes": runtimes}
    said = rules_of(load_profile("xnnpack-arm64").model_copy(update=changed)).no_gain
    assert (said == "") is gains
    assert gains or said.startswith(f"tflite-runtime 2.14.0 skips no zeros on {core}: ")


def test_runtimes_in_which_a_route_does_not_pay_do_not_count() -> None:
    profile = load_profile("xnnpack-arm64")
    route = profile.offered[0].model_copy(update={"runtimes": ("tflite-runtime",)})
    changed = {"core": "cortex-a72", "routes": (route,), "strategies": ()}
    assert "cortex-a72" in rules_of(profile.model_copy(update=changed)).no_gain


def test_a_name_under_encoding_that_the_profile_has_no_version_of_is_an_error(
    tmp_path: Path,
) -> None:
    path = own_profile(
        tmp_path, 'runtimes = ["tflite-runtime", "LiteRT"]', 'runtimes = ["LiteRT", "TFLM"]'
    )
    said = "encoding.runtimes: expected names among the profile's own runtimes, tflite-runtime"
    with pytest.raises(ProfileError, match=re.escape(said)) as caught:
        load_profile(path)
    assert "Received: TFLM" in str(caught.value)

"""Routes on which a file can be pruned that keeps its number format: those that are in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.conversion.given import Given, PrunedFile
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.routes_of_given import routes_for, why_unfit
from edgeprune.core.errors import PlanError, ProfileError
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune
from edgeprune.tflite.format.file import read
from tests.support.detection import quantized_detector
from tests.support.islands import branching, two_parts
from tests.support.lift_networks import residual
from tests.support.quantized_networks import quantized_net


def given(path: Path) -> Given:
    """A file as it is given, not compared with the interpreter."""
    lifted = lift(path)
    return Given("m.tflite", lifted.model, lifted)


def test_a_quantized_file_has_the_int8_routes_of_a_device_and_their_first_is_the_default(
    tmp_path: Path,
) -> None:
    phone = load_profile("android-phone")
    left = routes_for(given(quantized_net(tmp_path / "m.tflite")), phone)
    assert [route.name for route in left.offered] == ["int8-channels", "int8"]
    assert left.on().numerics == "int8"


def test_a_float_file_with_an_island_has_the_float32_routes_and_the_others_say_why(
    tmp_path: Path,
) -> None:
    phone = load_profile("android-phone")
    file = given(two_parts(tmp_path / "two.tflite"))
    left = routes_for(file, phone)
    assert {route.numerics for route in left.offered} == {"float32"}
    assert left.on().numerics == left.numerics == "float32"
    why = {route.name: why_unfit(file, route) for route in phone.offered}
    assert {name for name, said in why.items() if not said} == {r.name for r in left.offered}
    assert why["int8"] == (
        "is in int8; m.tflite stays in float32, which REVERSE_SEQUENCE cannot be converted from"
    )


def test_a_float_file_with_branches_has_the_float32_routes(tmp_path: Path) -> None:
    left = routes_for(given(branching(tmp_path / "m.tflite")), load_profile("android-phone"))
    assert {route.numerics for route in left.offered} == {"float32"}


def test_a_quantized_file_with_an_island_has_the_int8_routes(tmp_path: Path) -> None:
    file = given(quantized_detector(tmp_path / "m.tflite"))
    assert file.lifted is not None
    assert file.lifted.islands
    left = routes_for(file, load_profile("android-phone"))
    assert {route.numerics for route in left.offered} == {"int8"}


def test_a_device_of_int8_alone_refuses_a_float_file_with_an_island_by_its_name(
    tmp_path: Path,
) -> None:
    file = given(two_parts(tmp_path / "two.tflite"))
    with pytest.raises(ProfileError, match=r"m\.tflite, which REVERSE_SEQUENCE"):
        routes_for(file, load_profile("edge-tpu"))
    with pytest.raises(ProfileError, match=r"expected a route in float32.*Received: int8, in int8"):
        routes_for(file, load_profile("android-phone"), ["int8"])


@pytest.mark.slow
def test_a_smaller_quantized_file_is_expected_to_cost_less(tmp_path: Path) -> None:
    file = quantized_net(tmp_path / "m.tflite", width=64)
    made = plan(file, "android-phone", sparsity=0.5, look_around=False)
    assert made.expected is not None
    assert made.expected.unit == "instructions"
    assert made.expected.pruned < made.expected.dense


def test_files_of_floats_have_all_routes(tmp_path: Path) -> None:
    phone = load_profile("android-phone")
    for kind in ("float32", "dynamic-range"):
        assert routes_for(given(residual(tmp_path / "m.tflite", kind)), phone) is phone


def test_a_route_in_another_format_is_refused_with_the_format_and_the_routes_that_fit(
    tmp_path: Path,
) -> None:
    file = given(quantized_net(tmp_path / "m.tflite", "uint8"))
    with pytest.raises(ProfileError, match=r"m.tflite: int8-channels, int8\. Received: sparse"):
        plan(file, "android-phone", route="sparse")
    with pytest.raises(ProfileError, match="unknown route 'spars'"):
        plan(file, "android-phone", route="spars")
    with pytest.raises(ProfileError, match=r"a route in int8.*Received: routes in float32 alone"):
        plan(file, "xnnpack-x86")


def test_a_plan_for_another_format_is_refused_before_any_work(tmp_path: Path) -> None:
    file = given(quantized_net(tmp_path / "m.tflite"))
    made = plan(file.model, "xnnpack-x86", sparsity=0.5, look_around=False)
    with pytest.raises(PlanError, match=r"plan for int8.*route latency, in float32"):
        prune(file, made)


@pytest.mark.parametrize("device", ["arm-neon-int8", "ethos-u55"])
def test_channels_and_zeros_are_written_back_into_a_quantized_file(
    device: str, tmp_path: Path
) -> None:
    file = given(quantized_net(tmp_path / "m.tflite", "uint8"))
    made = plan(file, device, sparsity=0.5, look_around=False)
    pruned = prune(file, made)
    assert isinstance(pruned, PrunedFile)
    written = read(pruned.save(tmp_path / "out.tflite").path)
    assert {tensor.dtype for tensor in written.tensors} == {"uint8", "int32"}

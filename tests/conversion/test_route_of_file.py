"""A device with several routes: what one command chose, the next ones take from the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.conversion.convert import export
from edgeprune.conversion.route_of_file import on_route_of
from edgeprune.core.errors import ProfileError
from edgeprune.core.pattern import Block, Channels
from edgeprune.core.plan import read_plan
from edgeprune.inspection.inspect_file import inspect
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.profiles.write_profile import to_toml
from edgeprune.pruning.carry_out import prune
from edgeprune.targets.checks import numerics
from edgeprune.targets.measuring import measure
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import manifest_path, read_embedded
from tests.support.architectures import build, samples
from tests.support.small_nets import chain, two_of_four
from tests.support.tiny_tflite import fully_connected


def phone() -> DeviceProfile:
    """int8 with channels removed, float with zeros, float in half precision: routes of one core."""
    sparse, whole = load_profile("xnnpack-arm64"), load_profile("arm-neon-int8")
    channels = {**dict(whole.route), "name": "int8-channels"}
    zeros = {
        **dict(sparse.route),
        "name": "sparse",
        "prunable": sparse.prunable,
        "also": sparse.also,
        "encoding": sparse.encoding,
        "left_alone": sparse.left_alone,
        "symmetric_padding": True,
    }
    halves = {**channels, "name": "halves", "numerics": "float16-arithmetic", "goals": ()}
    dense = {
        **channels,
        "name": "int8",
        "goals": (),
        "rules": (),
        "default_sparsity": 0.0,
        "left_alone": "the route leaves the model dense",
    }
    return DeviceProfile.model_validate(
        {
            **whole.model_dump(by_alias=True),
            "schema": 2,
            "name": "phone",
            "strategies": (),
            "routes": (channels, zeros, {**halves, "needs": ("fp16-arithmetic",)}, dense),
        }
    )


def test_a_profile_with_routes_goes_through_its_file(tmp_path: Path) -> None:
    path = tmp_path / "phone.toml"
    path.write_text(to_toml(phone()), encoding="utf-8")
    assert load_profile(path) == phone()


def test_without_a_manifest_the_number_format_decides(tmp_path: Path) -> None:
    layers = [("CONV_2D", two_of_four((8, 3, 3, 8)))]
    int8 = read(chain(tmp_path / "int8", layers, 8))
    float32 = read(fully_connected(tmp_path / "float", two_of_four((4, 8)).astype("float32")))
    assert numerics(int8) == "int8"
    assert on_route_of(int8, phone()).route.name == "int8-channels"
    assert on_route_of(float32, phone()).route.name == "sparse"
    assert on_route_of(float32, phone(), "halves").route.name == "halves"
    with pytest.raises(ProfileError, match="unknown route 'halve'.*Did you mean 'halves'"):
        on_route_of(float32, phone(), "halve")


def test_a_dense_route_plans_nothing_and_says_why() -> None:
    made = plan(build("mobilenet_v1"), phone(), route="int8")
    assert (made.route, made.numerics, made.pruned) == ("int8", "int8", ())
    assert {row.reason for row in made.layers if row.shape and row.kind == "Conv2D"} == {
        "the route leaves the model dense"
    }


def test_a_plan_names_its_route_and_comes_back(tmp_path: Path) -> None:
    model = build("mobilenet_v1")
    made = plan(model, phone(), route="sparse")
    assert {row.pattern for row in made.pruned} == {Block(2, 1)}
    assert "--route sparse" in made.next_step
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(made.to_json()), encoding="utf-8")
    assert read_plan(path) == made
    older = {key: value for key, value in made.to_json().items() if key != "route"}
    path.write_text(json.dumps(older), encoding="utf-8")
    assert read_plan(path).route is None
    assert {row.pattern for row in plan(model, phone()).pruned} == {Channels(16)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("route", "wanted"),
    [("int8-channels", "int8"), ("sparse", "float32"), ("halves", "float16-arithmetic")],
)
def test_a_route_is_chosen_once(tmp_path: Path, route: str, wanted: str) -> None:
    model = build("mobilenet_v1")
    x = samples(model, 32)
    made = plan(model, phone(), route=route)
    pruned = prune(model, made, x)
    save_model(pruned, tmp_path / "m.keras")
    path = tmp_path / "m.tflite"
    export(pruned, phone(), path, x=x, plan=made)
    graph = read(path)
    assert numerics(graph) == wanted
    assert (read_embedded(graph.metadata) or {})["route"] == route
    assert json.loads(manifest_path(path).read_text())["route"] == route
    assert on_route_of(graph, phone()).route.name == route
    assert [each.route for each in measure([path], phone())] == [route]
    verdict = validate(path, phone(), reference=tmp_path / "m.keras", x=x)
    assert verdict.ok, verdict
    assert inspect(path, phone()).device == "phone"

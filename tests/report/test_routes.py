"""Routes side by side: what is measured of each, which is the fastest, and files for that alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import edgeprune
from edgeprune.cli import cli
from edgeprune.conversion.convert import export
from edgeprune.core.errors import ModelError, PlanError, ProfileError, TargetError
from edgeprune.core.files import describe_file
from edgeprune.core.pattern import Channels, NofM
from edgeprune.core.plan import LayerPlan, Plan
from edgeprune.inspection.inspect_file import inspect
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.profiles.write_profile import to_toml
from edgeprune.pruning.carry_out import prune
from edgeprune.report import route_files
from edgeprune.report.route_files import RouteFiles
from edgeprune.report.route_table import RouteResult, Routes
from edgeprune.report.routes import gain_on
from edgeprune.targets.child import WorkerError
from edgeprune.targets.edgetpu_model import EDGETPU_MODEL
from edgeprune.targets.latency import Speedup, latency
from edgeprune.targets.measurement import Measurement, Settings, speedup_over
from edgeprune.targets.measuring import measure
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import manifest_path, named_route, read_manifest
from tests.support.profiles import rule
from tests.support.tiny_tflite import fully_connected


def counted(instructions: int | None, **facts: Any) -> Measurement:
    shown = {"model": "m.tflite", "device": "phone", "target": "t", "runtime": "LiteRT 2.1.6"}
    sizes = {"simulated": True, "size_bytes": 1, "gzip_bytes": 1, "instructions": instructions}
    return Measurement(**{**shown, **sizes, **facts})


def result(name: str, dense: int | None, pruned: int | None = None, **facts: Any) -> RouteResult:
    """A route whose files take so many instructions; a dense one without `pruned`."""
    made: dict[str, Any] = {
        "route": name,
        "numerics": "int8",
        "pattern": None if pruned is None else "Channels(16)",
        "asked": 0.5,
        "reached": 0.5,
        "needs": (),
        "dense": counted(dense) if dense else None,
        "pruned": counted(pruned) if pruned else None,
        "size_bytes": 1024,
        "gains": None,
        "reason": "",
    }
    return RouteResult(**{**made, **facts})


def table(*results: RouteResult, **facts: Any) -> Routes:
    return Routes("m.keras", "phone", "LiteRT 2.1.6", results, **facts)


def test_the_fastest_route_is_the_one_whose_own_file_costs_least() -> None:
    found = table(
        result("half", 200, 90, gains=True),
        result("sparse", 400, 120, numerics="float32", gains=True),
        result("int8", 200),
    )
    assert found.fastest is not None
    assert found.fastest.route == found.to_json()["fastest"] == "half"
    assert found.to_json()["ranked_by"] == "instructions"
    assert [each.route for each in found.ranked] == ["half", "sparse", "int8"]
    assert found.verdict() == (
        "Fastest route of phone: half (90 instructions, 2.22x fewer instructions than dense int8, "
        "4.44x fewer instructions than dense float32)."
    )


def test_a_dense_route_may_be_the_fastest() -> None:
    found = table(result("sparse", 400, 250, numerics="float32"), result("int8", 200))
    assert found.fastest is not None
    assert found.verdict() == (
        "Fastest route of phone: int8 (200 instructions, 2.00x fewer instructions than dense "
        "float32)."
    )


def test_no_route_is_the_fastest_where_its_dense_file_costs_less() -> None:
    found = table(result("half", 200, 210, gains=False))
    assert found.fastest is None
    assert found.verdict() == "Fastest route of phone: none is faster than the dense model."


def test_without_measurements_the_cost_table_ranks() -> None:
    expected = [result("a", None, None, expected=9.0), result("b", None, None, expected=3.0)]
    found = table(*expected, not_measured="nothing is ready")
    assert found.fastest is not None
    assert (found.fastest.route, found.ranked_by) == ("b", "cost-table")
    assert found.verdict() == "Fastest route of phone: b, by the cost table."
    unknown = table(result("a", None))
    assert (unknown.fastest, unknown.ranked_by) == (None, "cost-table")
    assert unknown.verdict() == (
        "Fastest route of phone: not known, since nothing tells what one inference costs."
    )
    assert unknown.grids()[0].title == "m.keras on phone: not ranked, LiteRT 2.1.6"
    assert found.grids()[0].title == "m.keras on phone: by the cost table, LiteRT 2.1.6"


def test_what_counts_nothing_ranks_nothing() -> None:
    memory = [counted(None, memory={"arena_bytes": size}) for size in (10, 5)]
    found = table(replace(result("half", None), dense=memory[0], pruned=memory[1]))
    assert (found.unit, found.fastest) == (None, None)


def files(*, pruned: bool = True) -> RouteFiles:
    """Those of a route that removes channels; of a plan that prunes nothing if not `pruned`."""
    row = LayerPlan(
        path="conv",
        kind="Conv2D",
        shape=(1, 1, 64, 64),
        pattern=Channels(16) if pruned else None,
        sparsity=0.5 if pruned else 0.0,
        prunable=True,
        reason="it pays",
    )
    plan = Plan(device="board", model="m", goal="latency", asked=0.5, layers=(row,))
    return RouteFiles(board().offered[0], plan)


def beside(first: Measurement, other: Measurement) -> Measurement:
    return replace(other, speedup=speedup_over(first, other))


def test_a_gain_is_one_beyond_what_the_instrument_leaves_open() -> None:
    dense, half = counted(200), counted(100)
    assert gain_on(files(), dense, beside(dense, half)) == (True, "2.00x by instructions")
    for other in (dense, counted(300)):
        gains, reason = gain_on(files(), dense, beside(dense, other))
        assert gains is False
        assert "kernels do not turn what was pruned into less work" in reason
    assert gain_on(files(), None, half)[0] is None
    nothing, why = gain_on(files(pruned=False), dense, None)
    assert nothing is False
    assert why == "Nothing to prune for board: see the reason beside each layer."


def test_what_is_within_the_noise_of_the_clock_is_not_known() -> None:
    rounds = ((1.0, 2.0, 3.0), (2.0, 1.0, 3.0))
    noisy = counted(None, latency_ms=latency(rounds), rounds_ms=rounds)
    gains, reason = gain_on(files(), noisy, beside(noisy, noisy))
    assert gains is None
    assert reason.startswith("no significant difference")
    twice = tuple(tuple(2 * ms for ms in process) for process in rounds)
    slow = counted(None, latency_ms=latency(twice), rounds_ms=twice)
    assert gain_on(files(), slow, beside(slow, noisy))[0] is True


def test_ratios_of_counts_leave_open_what_their_counter_does() -> None:
    first = counted(300)
    second = counted(200, speedup=Speedup(1.5, (1.5 * 0.9, 1.5 * 1.1), of="instructions"))
    found = speedup_over(second, first)
    assert found is not None
    assert found.median == pytest.approx(2 / 3)
    assert found.ci95 == pytest.approx((2 / 3 / 1.1, 2 / 3 * 1.1))
    assert speedup_over(counted(None), counted(None)) is None
    one, two = counted(None, cycles=10, ops_on_cpu=0), counted(None, cycles=5, ops_on_cpu=1)
    assert speedup_over(one, two) is None
    assert speedup_over(one, replace(two, ops_on_cpu=0)) == Speedup(2.0, (2.0, 2.0), of="cycles")


def test_the_table_shows_the_cheapest_first_and_what_stands_in_the_way() -> None:
    found = table(
        result("fast", None, reason="needs dot-product"),
        result("half", 200, 90, needs=("data", "training"), reason="2.22x by instructions"),
    )
    text = found.grids()[0].to_text(300)
    assert text.index("half") < text.index("fast")
    for part in ("200 → 90 instructions", "data, training", "needs dot-product", "0.5 / 0.500"):
        assert part in text


def test_the_document_has_the_keys_of_the_contract() -> None:
    found = table(result("half", 200, 90, needs=("data",), gains=True)).to_json()
    assert found.keys() == {"model", "device", "runtime", "ranked_by", "fastest", "routes"}
    (entry,) = found["routes"]
    assert entry.keys() == {
        *("route", "numerics", "pattern", "sparsity", "needs", "expected", "dense", "pruned"),
        *("size_bytes", "gains", "reason"),
    }
    assert entry["sparsity"] == {"asked": 0.5, "reached": 0.5}
    assert entry["expected"] is None


def board(*extra: dict[str, Any], **changes: Any) -> DeviceProfile:
    """An Edge TPU with several routes: it is measured by a model, which is there at once."""
    base = load_profile("edge-tpu").model_dump(by_alias=True)
    common = {"numerics": "int8", "source": "a test", "default_sparsity": 0.5}
    half = {
        **common,
        "name": "half",
        "goals": ("latency",),
        "rules": (rule(Channels(16)),),
    }
    dense = {**common, "name": "plain", "goals": (), "rules": (), "default_sparsity": 0.0}
    routes = (half, *extra, dense)
    made = {"schema": 2, "name": "board", "strategies": (), "routes": routes}
    return DeviceProfile.model_validate({**base, **made, **changes})


def also(name: str, **changes: Any) -> dict[str, Any]:
    """One more route of the board."""
    return {**board().offered[0].model_dump(), "name": name, **changes}


def network() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 4), name="image"),
            keras.layers.Conv2D(64, 3, activation="relu", name="conv"),
            keras.layers.Conv2D(64, 1, activation="relu", name="pointwise"),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dense(2, name="kind"),
        ]
    )


def test_what_cannot_be_asked_is_refused_before_any_work(tmp_path: Path) -> None:
    model = network()
    with pytest.raises(TargetError, match="'host' does not measure board.*one of edgetpu-model"):
        edgeprune.routes(model, board(), target="host")
    with pytest.raises(ProfileError, match="one of latency. Received: memory"):
        edgeprune.routes(model, board(), goal="memory")
    with pytest.raises(PlanError, match="--only 'nothing'"):
        edgeprune.routes(model, board(), only="nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_route_is_measured_and_its_files_are_for_that_alone(tmp_path: Path) -> None:
    """Also those of conditions that are not met, which are named and not made."""
    halves = also("halves", numerics="float16-arithmetic", needs=("fp16-arithmetic",))
    other = also("other", runtimes=("LiteRT",))
    runtimes = [{"name": n, "version": "2.1.6", "source": "a test"} for n in ("TFLM", "LiteRT")]
    profile = board(halves, other, core="cortex-a72", runtimes=runtimes)
    folder = tmp_path / "out"
    found = edgeprune.routes(network(), profile, folder=folder)
    half, no_halves, no_other, plain = found.routes
    assert [each.route for each in found.routes] == ["half", "halves", "other", "plain"]
    assert "needs fp16-arithmetic, which the core cortex-a72 does not have" in no_halves.reason
    assert no_other.reason == "pays in LiteRT only, and not in TFLM"
    assert {each.size_bytes for each in (no_halves, no_other)} == {None}
    assert half.pruned is not None
    assert half.dense is not None
    assert half.pruned.speedup is not None
    assert half.pruned.speedup.median == half.dense.cycles / half.pruned.cycles  # type: ignore[operator]
    assert half.reached == pytest.approx(0.5, abs=0.1)
    assert (half.gains, half.pattern) == (True, "Channels(16)")
    assert plain.dense == half.dense
    assert (plain.pattern, plain.pruned, plain.asked) == (None, None, 0.0)
    assert (found.ranked_by, found.fastest) == ("cycles", half)
    assert found.ok
    assert {path.name for path in folder.glob("*.tflite")} == {"half.tflite", "plain.tflite"}
    beside = json.loads(manifest_path(folder / "half.tflite").read_text())
    assert (beside["measuring_only"], beside["route"]) == (True, "half")
    verdict = validate(folder / "half.tflite", profile)
    failed = [check for check in verdict.checks if not check.ok]
    assert [check.kind for check in failed] == ["purpose"]
    assert "--route half" in failed[0].message
    measured = measure([folder / "half.tflite", folder / "plain.tflite"], profile)
    assert [each.route for each in measured] == ["half", "plain"]
    assert [each.to_json()["route"] for each in measure([folder / "half.tflite"], "edge-tpu")] == [
        None
    ]
    assert inspect(folder / "half.tflite", profile).to_json()["model"].endswith("half.tflite")


def test_a_manifest_beside_a_file_counts_if_it_is_of_this_very_file(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", np.eye(64))
    made = {"measuring_only": True, "route": "half", "device": "board"}
    sha256 = describe_file(path).sha256
    for named, found in [(sha256, made), ("0" * 64, {})]:
        content = {**made, "artifact": {"sha256": named}}
        manifest_path(path).write_text(json.dumps(content))
        assert read_manifest(read(path)) == {
            **found,
            **({"artifact": {"sha256": named}} if found else {}),
        }
    assert named_route(read(path), "board", ["half"]) is None
    manifest_path(path).write_text(json.dumps({**made, "artifact": {"sha256": sha256}}))
    assert named_route(read(path), "board", ["half"]) == "half"
    assert named_route(read(path), "board", ["other"]) is None
    assert named_route(read(path), "phone", ["half"]) is None


@pytest.mark.slow
def test_work_is_shared_between_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense file per number format, a pruned model per plan, one call of the instrument."""
    done: list[str] = []

    def count(name: str, real: Any, what: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            done.append(f"{name} {what(*arguments, **options)}")
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(
        route_files,
        "export",
        count("export", export, lambda _, __, path, **___: path.name),
    )
    monkeypatch.setattr(route_files, "prune", count("prune", prune, lambda _, plan: plan.route))
    monkeypatch.setattr(
        EDGETPU_MODEL, "measure", count("measure", EDGETPU_MODEL.measure, lambda f, *_: len(f))
    )
    less = also("less", default_sparsity=0.25)
    found = edgeprune.routes(network(), board(also("twin"), less))
    assert done == [
        *("export plain.tflite", "prune half", "export half.tflite", "export twin.tflite"),
        *("prune less", "export less.tflite", "measure 4"),
    ]
    half, twin, less_of_it, _ = found.routes
    assert half.pruned is not None
    assert half.pruned.model == "half.tflite"
    assert half.pruned.cycles == twin.pruned.cycles  # type: ignore[union-attr]
    assert half.reached > less_of_it.reached > 0  # type: ignore[operator]


@pytest.mark.slow
def test_a_file_that_does_not_run_is_a_failed_check_of_its_route_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = EDGETPU_MODEL.measure

    def measure_but_one(
        models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        if any(path.name == "half.tflite" for path in models):
            raise WorkerError("half.tflite: crashed")
        return real(models, profile, settings)

    monkeypatch.setattr(EDGETPU_MODEL, "measure", measure_but_one)
    found = edgeprune.routes(network(), board(), goal="latency")
    half, plain = found.routes
    assert (half.pruned, half.failed, half.reason) == (None, True, "half.tflite: crashed")
    assert (half.dense, plain.failed) == (plain.dense, False)
    assert found.fastest == plain
    assert not found.ok


@pytest.mark.slow
def test_a_number_format_that_the_model_has_none_of_leaves_the_other_routes() -> None:
    """Text goes into no int8 file; where no route is left the reason is the error."""
    floats = {"rules": (), "default_sparsity": 0.0, "goals": ()}
    inputs = keras.Input((2, 3), name="numbers")
    stateful = keras.Model(inputs, keras.layers.Dense(2)(keras.ops.erfinv(inputs)))
    with pytest.raises(ModelError, match="does not take this model"):
        edgeprune.routes(stateful, board(also("single", numerics="float32", **floats)))


@pytest.mark.slow
def test_the_command_prints_the_table_and_refuses_contradictions(tmp_path: Path) -> None:
    save_model(network(), tmp_path / "m.keras")
    fixed = also("quarter", rules=(rule(NofM(2, 4)),))
    (tmp_path / "board.toml").write_text(to_toml(board(fixed)))
    command = ["routes", str(tmp_path / "m.keras"), "--device", str(tmp_path / "board.toml")]
    done = CliRunner().invoke(cli, [*command, "--sparsity", "0.25", "--json"])
    assert done.exit_code == 0, done.output
    found: Mapping[str, Any] = json.loads(done.stdout)
    assert found["model"] == str(tmp_path / "m.keras")
    assert [entry["sparsity"]["asked"] for entry in found["routes"]] == [0.25, 0.5, 0.0]
    assert found["routes"][1]["gains"] is False
    assert found["routes"][1]["reason"]
    assert found["routes"][0]["pattern"] == "Channels(16)"
    for options, said in [
        (["--target", "host,edgetpu-model"], "ranked by one instrument"),
        (["--target", "host"], "does not measure board"),
        (["--goal", "flash"], "one of latency. Received: flash"),
        (["--sparsity", "1.5"], "1.5"),
    ]:
        done = CliRunner().invoke(cli, [*command, *options])
        assert (done.exit_code, said in done.output.replace("\n", " ")) == (2, True), done.output

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.errors import CheckError, TargetError
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.facts import Limit, TflmSettings
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.targets.checks import Case, Check
from edgeprune.targets.child import run_worker
from edgeprune.targets.host import HOST
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.measurement import Settings
from edgeprune.targets.measuring import measure
from edgeprune.targets.packages import Package
from edgeprune.targets.tflm import TFLM, target
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.draft import load, pack, write
from edgeprune.tflite.op_versions import op_versions
from tests.support.gate_networks import save_sparse
from tests.support.profiles import changed_profile
from tests.support.runtimes import RUNTIMES
from tests.support.small_nets import chain, two_of_four
from tests.support.states import run_alone_and_in_a_row, run_stream
from tests.support.tflite_builder import Net, convolution_net, dense_net, prune
from tests.tflite.test_store_sparsely import DIRECT

CORTEX = load_profile("cortex-m-tflm")
GENERATOR = np.random.default_rng(0)


def small(path: Path) -> Path:
    """Two convolutions, int8."""
    layers = [("CONV_2D", two_of_four((8, 3, 3, 4))), ("CONV_2D", two_of_four((4, 1, 1, 8)))]
    return chain(path, layers)


def checked(path: Path, profile: DeviceProfile = CORTEX) -> list[Check]:
    """What TFLite Micro alone says of a file."""
    graph = tflite_file.read(path)
    return list(TFLM.check(Case(graph, profile, generated_inputs(graph, 2), None)))


def failed(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def with_limits(**limits: int) -> DeviceProfile:
    changed = {name: Limit(value=value, source="a test") for name, value in limits.items()}
    return CORTEX.model_copy(update={"limits": CORTEX.limits.model_copy(update=changed)})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["convolution", "depthwise", "dense int8", "dense float32"])
def test_it_computes_what_tflite_computes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    weights = GENERATOR.integers(-100, 100, (16, 24))
    if kind.startswith("dense"):
        dense_net(path, weights, kind.split()[1])
    else:
        shape = (1, 3, 3, 16) if kind == "depthwise" else (16, 3, 3, 8)
        values = GENERATOR.integers(-100, 100, shape)
        convolution_net(path, values, depthwise=kind == "depthwise")
    graph = tflite_file.read(path)
    inputs = generated_inputs(graph, 3)
    found = TFLM.run(graph, inputs)
    right = HOST.run(graph, inputs, RUNTIMES[0], delegates=False)
    step = right.facts["output_scales"][0]
    assert found.facts["output_scales"] == pytest.approx([step])
    assert found.outputs[0].shape == right.outputs[0].shape
    assert np.ptp(right.outputs[0]) > 10 * step
    np.testing.assert_allclose(found.outputs[0], right.outputs[0], rtol=1e-5, atol=1.01 * step)


@pytest.mark.slow
def test_samples_follow_each_other_in_a_stream_and_nowhere_else(tmp_path: Path) -> None:
    def run(graph: tflite_file.Graph, x: list[Any]) -> Any:
        return TFLM.run(graph, x).outputs[0]

    np.testing.assert_array_equal(*run_alone_and_in_a_row(run, tmp_path))
    np.testing.assert_allclose(*run_stream(run, tmp_path), atol=0.16)


def test_inputs_and_outputs_are_in_the_order_of_the_signature(tmp_path: Path) -> None:
    """The file lists them the other way round than its signature does."""
    net = Net()
    a, b = net.tensor("a", (1, 4)), net.tensor("b", (1, 4))
    less, more = net.tensor("less", (1, 4)), net.tensor("more", (1, 4))
    net.operator("SUB", [a, b], [less], 1, schema.SubOptionsT())
    net.operator("ADD", [a, b], [more], 1, schema.AddOptionsT())
    path = net.save(tmp_path / "m.tflite", [a, b], [less, more])
    net.graph.inputs = np.array([b, a], np.int32)
    net.graph.outputs = np.array([more, less], np.int32)
    path.write_bytes(pack(net.model))
    five, two = np.full((1, 4), 5, np.float32), np.full((1, 4), 2, np.float32)
    reply = TFLM.run(tflite_file.read(path), [five, two])
    assert [float(array[0, 0]) for array in reply.outputs] == [3, 7]


def test_the_arena_is_split_as_the_recording_allocator_gives_it(tmp_path: Path) -> None:
    path = small(tmp_path / "m.tflite")
    (found,) = measure([path], CORTEX)
    memory = found.memory
    assert found.target == "tflm"
    assert found.runtime == "TFLM 0.dev20261023182759"
    assert not found.simulated
    assert memory["arena_bytes"] == memory["arena_head_bytes"] + memory["arena_tail_bytes"]
    # The largest two maps that are there at the same time: 4 and 8 channels of 16x16 bytes.
    assert memory["arena_head_bytes"] >= 16 * 16 * (4 + 8)
    totals = {"arena_bytes", "arena_head_bytes", "arena_tail_bytes", "flash_bytes"}
    parts = [size for name, size in memory.items() if name not in totals]
    assert len(parts) >= 4
    assert 0 < sum(parts) <= memory["arena_tail_bytes"]
    assert memory["flash_bytes"] == found.size_bytes == path.stat().st_size


def test_there_is_no_latency_and_nothing_missing_is_zero(tmp_path: Path) -> None:
    content = measure([small(tmp_path / "m.tflite")], CORTEX)[0].to_json()
    assert all(content[key] is None for key in ("latency_ms", "instructions", "cycles", "speedup"))
    assert all(content["memory"].values())


def test_a_sound_file_passes(tmp_path: Path) -> None:
    verdict = validate(small(tmp_path / "m.tflite"), CORTEX)
    assert verdict.ok, verdict
    names = {check.name for check in verdict.checks}
    assert names >= {"arena (TFLM)", "flash (TFLM)", "outputs (TFLM 0.dev20261023182759)"}


def test_a_model_that_does_not_fit_fails_with_the_number_and_the_limit(tmp_path: Path) -> None:
    path = small(tmp_path / "m.tflite")
    memory = measure([path], CORTEX)[0].memory
    exact = with_limits(arena_bytes=memory["arena_bytes"], flash_bytes=memory["flash_bytes"])
    assert not failed(checked(path, exact))
    tight = with_limits(
        arena_bytes=memory["arena_bytes"] - 1, flash_bytes=memory["flash_bytes"] - 1
    )
    assert failed(checked(path, tight)) == ["arena (TFLM)", "flash (TFLM)"]
    arena = next(check for check in checked(path, tight) if check.name == "arena (TFLM)")
    assert (arena.value, arena.limit) == (memory["arena_bytes"], memory["arena_bytes"] - 1)
    assert str(arena.value) in arena.message
    assert str(arena.limit) in arena.message


def test_known_code_is_counted_as_flash(tmp_path: Path) -> None:
    code = TflmSettings(code_bytes=Limit(value=50000, source="a map file"))
    own = CORTEX.model_copy(update={"tflm": code})
    path = small(tmp_path / "m.tflite")
    (found,) = measure([path], own)
    assert found.memory["flash_bytes"] == path.stat().st_size + 50000
    assert "50000 bytes of code" in found.conditions


def densify_net(path: Path) -> Path:
    weights = prune(GENERATOR.normal(size=(16, 1, 1, 32)), 0.95, (1, 1, 1, 1))
    dense = convolution_net(path, weights, dtype="float32")
    return save_sparse(dense, path)


def direct_net(path: Path) -> Path:
    from edgeprune.tflite.storage_plan import plan_encoding
    from edgeprune.tflite.store_sparsely import apply_plans

    dense_net(path, prune(GENERATOR.normal(size=(64, 128)), 0.9, (1, 4)))
    draft = load(path)
    plans = plan_encoding(draft.graph, DIRECT)
    assert [plan.storage for plan in plans] == ["direct"]
    apply_plans(draft, plans)
    write(draft, path)
    return path


@pytest.mark.parametrize(
    ("make", "reason"), [(densify_net, "DENSIFY"), (direct_net, "wrong bytes")]
)
def test_sparse_files_are_refused_with_the_reason(make: Any, reason: str, tmp_path: Path) -> None:
    path = make(tmp_path / "m.tflite")
    with pytest.raises(CheckError, match=f"{reason}.*edgeprune densify") as caught:
        measure([path], CORTEX, target="tflm")
    assert caught.value.exit_code == 1
    assert failed(checked(path)) == ["dense weights (TFLM)"]


def test_without_the_refusal_a_direct_sparse_tensor_is_silently_wrong(tmp_path: Path) -> None:
    """Why it is refused: TFLite Micro says nothing, and TFLite computes something else."""
    graph = tflite_file.read(direct_net(tmp_path / "m.tflite"))
    inputs = generated_inputs(graph, 1)
    model = {"path": str(graph.path), "input_places": [0], "output_places": [0]}
    job = {"models": [model], "arena_bytes": 1 << 20}
    found = run_worker(job, [inputs], script=target.TFLM_WORKER)
    right = HOST.run(graph, inputs, RUNTIMES[0])
    assert found.facts["unregistered"] == []
    assert not np.allclose(found.outputs[0], right.outputs[0], rtol=0.1, atol=0.1)


def unknown_ops_net(path: Path) -> Path:
    net = Net()
    tensors = [net.tensor(f"t{i}", (1, 8)) for i in range(5)]
    net.operator("GELU", [tensors[0]], [tensors[1]], 1, schema.GeluOptionsT())
    net.operator("ABS", [tensors[1]], [tensors[2]])
    net.operator("CUSTOM", [tensors[2]], [tensors[3]], custom_code=b"my_filter")
    net.operator("GELU", [tensors[3]], [tensors[4]], 1, schema.GeluOptionsT())
    return net.save(path, [tensors[0]], [tensors[4]])


def test_every_operator_that_is_not_registered_is_named(tmp_path: Path) -> None:
    path = unknown_ops_net(tmp_path / "m.tflite")
    with pytest.raises(CheckError, match=rf"^{path}: .*Received: GELU\."):
        measure([path], CORTEX, target="tflm")
    checks = {check.name: check for check in validate(path, CORTEX).checks}
    check = checks["operators (TFLM 0.dev20261023182759)"]
    assert (check.ok, check.value) == (False, 1)
    assert "GELU" in check.message
    assert "no runtime has my_filter" in checks["remainder"].message
    # Also without the instrument, from the table that comes with edgeprune.
    assert "GELU version 1 (TFLM" in checks["operators"].message


def test_the_table_of_operators_is_what_the_installed_one_registers(tmp_path: Path) -> None:
    table = op_versions()["TFLM 0.dev20261023182759"]
    net = Net()
    tensor = net.tensor("x", (1, 4))
    asked = ("CONV_2D", "CUMSUM", "DENSIFY", "GELU", "TOPK_V2", "UNPACK", "WHERE", "HARD_SWISH")
    for op in asked:
        net.operator(op, [tensor], [tensor])
    path = net.save(tmp_path / "m.tflite", [tensor], [tensor])
    model = {"path": str(path), "input_places": [], "output_places": []}
    reply = run_worker({"models": [model], "arena_bytes": 0}, [[]], script=target.TFLM_WORKER)
    assert set(reply.facts["unregistered"]) == {op for op in asked if op not in table}
    assert 0 < len(reply.facts["unregistered"]) < len(asked)


def softmax_net(path: Path, scale: float) -> Path:
    net = Net()
    x = net.tensor("x", (1, 10), "int8", scales=[scale])
    y = net.tensor("y", (1, 10), "int8", scales=[1 / 256], zero_point=-128)
    net.operator("SOFTMAX", [x], [y], 2, schema.SoftmaxOptionsT(beta=1.0))
    return net.save(path, [x], [y])


def test_a_native_abort_is_a_failed_check_that_says_what_to_do(tmp_path: Path) -> None:
    assert not failed(checked(softmax_net(tmp_path / "good.tflite", 0.1)))
    path = softmax_net(tmp_path / "bad.tflite", 1e-9)
    (check,) = checked(path)
    assert (check.name, check.ok) == ("runs (TFLM)", False)
    assert "SIGABRT" in check.message
    assert "the input of SOFTMAX has scale 1.0e-09" in check.message
    with pytest.raises(CheckError, match=r"bad\.tflite: TFLite Micro does not run it: .*SIGABRT"):
        measure([path], CORTEX)


def test_an_arena_that_is_too_small_is_tried_again_larger(tmp_path: Path) -> None:
    graph = tflite_file.read(small(tmp_path / "m.tflite"))
    model = {"path": str(graph.path), "input_places": [0], "output_places": [0]}
    inputs = generated_inputs(graph, 1)
    arenas = [
        run_worker(
            {"models": [model], "arena_bytes": size}, [inputs], script=target.TFLM_WORKER
        ).facts["allocations"]["total"]
        for size in (512, target.roomy_arena(graph))
    ]
    # What the tail's alignment costs depends on where the arena ends.
    assert arenas[0] == pytest.approx(arenas[1], abs=32)
    assert target.roomy_arena(graph) > 2 * arenas[1]


def test_a_file_that_it_does_not_take_is_refused_with_its_own_words(tmp_path: Path) -> None:
    """Float weights on int8 maps: registered operators, and no kernel for the types."""
    net = Net()
    x = net.tensor("x", (1, 8, 8, 4), "int8", scales=[0.1])
    w = net.constant("w", np.ones((4, 1, 1, 4), np.float32))
    b = net.constant("b", np.zeros(4, np.float32))
    y = net.tensor("y", (1, 8, 8, 4), "int8", scales=[0.1])
    net.operator("CONV_2D", [x, w, b], [y], 1, schema.Conv2DOptionsT(strideW=1, strideH=1))
    path = net.save(tmp_path / "m.tflite", [x], [y])
    with pytest.raises(CheckError, match="TFLite Micro does not run it: .*CONV_2D"):
        measure([path], CORTEX)


def test_another_runtime_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="one runtime, TFLM. Received: LiteRT"):
        TFLM.measure([small(tmp_path / "m.tflite")], CORTEX, Settings(runtime="LiteRT"))


def test_without_the_package_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "TFLM_PACKAGE", Package("tflm", "no-such-package", "1"))
    path = small(tmp_path / "m.tflite")
    with pytest.raises(TargetError, match="edgeprune targets install tflm") as caught:
        measure([path], CORTEX, target="tflm")
    assert caught.value.exit_code == 2
    (check,) = checked(path)
    assert check.ok
    assert "not proven on TFLite Micro" in check.message


def own_profile(path: Path, arena_bytes: int) -> Path:
    unknown = 'arena_bytes = { value = "unknown"'
    known = f"arena_bytes = {{ value = {arena_bytes}"
    return changed_profile(path, "cortex-m-tflm", (unknown, known))


def test_validate_ends_with_1_where_the_arena_is_too_small(tmp_path: Path) -> None:
    own = own_profile(tmp_path / "board.toml", 2000)
    path = small(tmp_path / "m.tflite")
    done = CliRunner().invoke(cli, ["validate", str(path), "--device", str(own), "--json"])
    assert done.exit_code == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert [name for name, check in checks.items() if not check["ok"]] == ["arena (TFLM)"]
    assert checks["arena (TFLM)"]["limit"] == 2000
    assert checks["arena (TFLM)"]["value"] > 2000


def test_measure_ends_with_2_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "TFLM_PACKAGE", Package("tflm", "no-such-package", "1"))
    arguments = ["measure", str(small(tmp_path / "m.tflite")), "--device", "cortex-m-tflm"]
    done = CliRunner().invoke(cli, [*arguments, "--target", "tflm"])
    assert done.exit_code == 2
    assert "edgeprune targets install tflm" in " ".join(done.stderr.split())

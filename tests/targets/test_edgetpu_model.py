"""The instrument `edgetpu-model`: bytes of files, the fit, checks, findings and measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.errors import TargetError, TfliteError
from edgeprune.inspection.inspect_file import inspect
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.checks import Case, Check
from edgeprune.targets.edgetpu_model import EDGETPU_MODEL
from edgeprune.targets.edgetpu_model.estimate import Estimate, estimate
from edgeprune.targets.edgetpu_model.fit import MIB, chip_fit
from edgeprune.targets.measurement import Measurement
from edgeprune.targets.measuring import measure
from edgeprune.tflite.format.file import Graph
from tests.support.edgetpu_networks import Net8, lone_operator
from tests.support.tflite_builder import dense_net

PROFILE = load_profile("edge-tpu")


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides an edgetpu_compiler that may be installed: these tests are of the model."""
    monkeypatch.setenv("PATH", "")


def _convolutions(path: Path, *outputs: int, size: int = 8, inputs: int = 16) -> Graph:
    net = Net8()
    x = y = net.map8((1, size, size, inputs))
    for count in outputs:
        y = net.convolution(y, count)
    return net.graph_at(path, [x], [y])


def _too_large(path: Path) -> Graph:
    """9,998,336 bytes of parameters: more than the chip keeps."""
    return _convolutions(path, 3072, 3072, size=1)


def _checks(graph: Graph) -> dict[str, Check]:
    return {check.name: check for check in EDGETPU_MODEL.check(Case(graph, PROFILE, [], None))}


def _measured(graph: Graph) -> Measurement:
    (found,) = measure([graph.path], PROFILE)
    return found


def test_a_network_stores_what_its_layers_store(tmp_path: Path) -> None:
    net = Net8()
    x = net.map8((1, 16, 16, 3))
    a = net.convolution(x, 72, 3, per_channel=True, activation=True)
    b = net.convolution(a, 72, 3, per_channel=True, activation=True, depthwise=True)
    c = net.convolution(b, 72, 3, per_channel=True, depthwise=True)
    y = net.dense(net.flatten(c), 10)
    graph = net.graph_at(tmp_path / "all.tflite", [x], [y])
    found = estimate(graph)
    assert [operator.stored.kept for operator in found.operators] == [
        128 * (9 * 4 + 12),
        72 * (36 + 12),
        3200,  # 72 * (36 + 8) = 3168, in whole groups of 64
        0,
        16 * (16 * 16 * 72 + 4),
    ]
    assert found.cycles == 16 * 9 * 1 * 5 + 2 * 16 * 9 * 2 + 4608


def test_pools_and_sums_count_cycles_like_depthwise_convolutions(tmp_path: Path) -> None:
    shape = (1, 8, 8, 65)
    pool = schema.Pool2DOptionsT(filterHeight=3, filterWidth=2)
    for op, shapes, options, steps in (
        ("MAX_POOL_2D", [shape], pool, 6),
        ("AVERAGE_POOL_2D", [shape], pool, 6),
        ("ADD", [shape, shape], None, 1),
        ("RELU", [shape], None, 0),
    ):
        graph = lone_operator(tmp_path / "one.tflite", op, shapes, shape, options=options)
        assert estimate(graph).cycles == 2 * 2 * 2 * steps


def test_what_stays_on_the_cpu_stores_nothing_and_costs_no_cycles(tmp_path: Path) -> None:
    net = Net8()
    x = net.map8((1, 8, 8, 16))
    y = net.convolution(net.step("FLOOR", net.convolution(x, 16), (1, 8, 8, 16)), 16)
    found = estimate(net.graph_at(tmp_path / "cut.tflite", [x], [y]))
    assert [o.stored.kept for o in found.operators] == [16 * 20, 0, 0]
    assert found.mapped == 1


def test_constants_of_elementwise_operators_are_streamed(tmp_path: Path) -> None:
    shape = (1, 48, 48, 1)
    graph = lone_operator(
        tmp_path / "mul.tflite", "MUL", [shape], shape, constants={1: np.ones(shape, np.int8)}
    )
    found = _measured(graph)
    assert found.memory == {"cached_bytes": 0, "streamed_bytes": 2368}
    assert any("rests on one case" in warning for warning in found.warnings)


def test_a_softmax_over_many_classes_is_told_and_not_counted(tmp_path: Path) -> None:
    graph = lone_operator(tmp_path / "many.tflite", "SOFTMAX", [(1, 1001)], (1, 1001))
    assert estimate(graph).kept_bytes == 0
    assert "48256 bytes at 1001 classes" in " ".join(_measured(graph).warnings)
    few = lone_operator(tmp_path / "few.tflite", "SOFTMAX", [(1, 10)], (1, 10))
    assert _measured(few).warnings == ()


def test_what_is_not_modelled_is_named(tmp_path: Path) -> None:
    for op, shapes, made, constants, note in (
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", [(1, 28, 28)], (1, 28, 20), {}, "LSTM are not modelled"),
        ("CONCATENATION", [(1, 8, 8, 3), (1, 8, 8, 1)], (1, 8, 8, 4), {}, "selection matrices"),
        ("SPLIT", [(1, 8, 8, 6)], (1, 8, 8, 3), {0: np.array(3, np.int32)}, "selection matrices"),
        ("PRELU", [(1, 8, 8, 4)], (1, 8, 8, 4), {1: np.ones((1, 1, 4), np.int8)}, "slopes"),
    ):
        graph = lone_operator(tmp_path / "one.tflite", op, shapes, made, constants=constants)
        (told,) = estimate(graph).notes()
        assert note in told
    even = lone_operator(
        tmp_path / "even.tflite", "CONCATENATION", [(1, 8, 8, 32)] * 2, (1, 8, 8, 64)
    )
    assert list(estimate(even).notes()) == []


def test_dense_layers_say_what_newer_builds_take(tmp_path: Path) -> None:
    net = Net8()
    x = net.map8((1, 256))
    graph = net.graph_at(tmp_path / "dense.tflite", [x], [net.dense(x, 256)])
    assert estimate(graph).kept_bytes == 256 * 260
    (note,) = estimate(graph).notes()
    assert f"take {256 * 264} bytes" in note
    assert 256 * 264 == 66 * 1024


def test_flattening_is_counted_and_warned_of(tmp_path: Path) -> None:
    net = Net8()
    x = net.map8((1, 30, 27))
    graph = net.graph_at(tmp_path / "flat.tflite", [x], [net.flatten(x)])
    assert estimate(graph).kept_bytes == 702_208
    check = _checks(graph)["flatten"]
    assert (check.ok, check.value) == (True, 702_208)
    assert "keep the channels before Flatten a multiple of 4" in check.message
    (finding,) = (f for f in inspect(graph.path, PROFILE).findings if "flatten" in f.rule)
    assert "702208 bytes" in finding.message
    kept = Net8()
    x = kept.map8((1, 30, 28))
    graph = kept.graph_at(tmp_path / "fours.tflite", [x], [kept.flatten(x)])
    assert "flatten" not in _checks(graph)


def test_keeping_the_last_axis_costs_nothing_however_many_channels(tmp_path: Path) -> None:
    for shape, made in (((1, 48, 48, 1), (1, 2304, 1)), ((1, 1, 1, 1001), (1, 1001))):
        constants = {1: np.array(made, np.int32)}
        graph = lone_operator(tmp_path / "r.tflite", "RESHAPE", [shape], made, constants=constants)
        assert estimate(graph).kept_bytes == 0


def _estimate_of(kept: float, pixels: int = 1) -> Estimate:
    class Fixed(Estimate):
        kept_bytes = int(kept)

    return Fixed((), pixels)


@pytest.mark.parametrize(
    ("mib", "pixels", "state"),
    [
        (5.5, 320 * 320, "fits"),
        (5.5, 321 * 320, "may stream"),
        (5.6, 1, "may stream"),
        (7.5, 1, "may stream"),
        (8.0, 1, "streams"),
    ],
)
def test_only_the_ends_of_the_fit_are_sure(mib: float, pixels: int, state: str) -> None:
    limit = PROFILE.limits.on_chip_bytes.value
    assert chip_fit(_estimate_of(mib * MIB, pixels), limit).state == state


def test_a_smaller_limit_of_a_users_profile_is_kept_to() -> None:
    assert chip_fit(_estimate_of(2 * MIB), MIB).state == "streams"
    assert chip_fit(_estimate_of(MIB), MIB).state == "fits"
    assert chip_fit(_estimate_of(100 * MIB), None).state == "may stream"


def test_parameters_that_do_not_fit_fail_with_number_limit_and_remedy(tmp_path: Path) -> None:
    check = _checks(_too_large(tmp_path / "large.tflite"))["fits on chip"]
    expected = 3072 * (16 + 4) + 3072 * (3072 + 4)
    assert (check.ok, check.value, check.limit) == (False, expected, 8283750)
    assert str(expected - 8283750) in check.message
    assert "Remove channels" in check.message


def test_what_is_streamed_is_measured_with_its_estimated_time(tmp_path: Path) -> None:
    found = _measured(_too_large(tmp_path / "large.tflite"))
    over = 3072 * 20 + 3072 * 3076 - 8283750
    assert found.memory == {"cached_bytes": 8283750, "streamed_bytes": over}
    assert f"{3.3 * over / MIB:.2g} ms over USB" in found.conditions
    assert "an estimate by SPARTA's law" in found.conditions
    assert found.latency_ms is None


def test_a_file_that_fits_passes_its_checks(tmp_path: Path) -> None:
    checks = _checks(_convolutions(tmp_path / "small.tflite", 16, 16))
    assert all(check.ok for check in checks.values())
    assert (checks["operators on the Edge TPU"].value, checks["fits on chip"].value) == (2, 640)


def test_a_file_of_which_nothing_is_mapped_fails(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "float.tflite", np.ones((4, 4)))
    (found,) = measure([path], PROFILE)
    assert (found.ops_on_device, found.ops_on_cpu, found.cycles) == (0, 1, None)
    assert "data type float32" in found.warnings[0]
    graph = lone_operator(tmp_path / "f.tflite", "FLOOR", [(1, 4)], (1, 4))
    check = _checks(graph)["operators on the Edge TPU"]
    assert not check.ok
    assert "FLOOR: operation not supported" in check.message


def test_operators_on_the_cpu_are_named_with_the_reason(tmp_path: Path) -> None:
    net = Net8()
    x = net.map8((1, 8, 8, 16))
    y = net.step("FLOOR", net.convolution(x, 16), (1, 8, 8, 16))
    graph = net.graph_at(tmp_path / "tail.tflite", [x], [y])
    check = _checks(graph)["operators on the Edge TPU"]
    assert (check.ok, check.value, check.limit) == (True, 1, 2)
    assert check.message == "on the CPU: FLOOR: operation not supported"
    (finding,) = inspect(graph.path, PROFILE).findings[-1:]
    assert (finding.op, finding.rule) == (1, "edge-tpu-cpu")


def test_outputs_that_only_fill_up_are_found(tmp_path: Path) -> None:
    path = _convolutions(tmp_path / "odd.tflite", 72, 64, 3).path
    found = [f for f in inspect(path, PROFILE).findings if f.rule == "edge-tpu-padding"]
    assert [(f.op, f.message.split(",")[0]) for f in found] == [
        (0, "Edge TPU: 72 outputs are stored as 128"),
        (2, "Edge TPU: 3 outputs are stored as 4"),
    ]
    assert found[0].remedy == "64 or 128 outputs leave no room unused."
    assert found[1].remedy == "4 outputs leave no room unused."
    assert not [f for f in inspect(path, "xnnpack-x86").findings if "edge-tpu" in f.rule]


def test_fewer_channels_are_faster_by_cycles_and_smaller_by_bytes(tmp_path: Path) -> None:
    models = [_convolutions(tmp_path / f"{n}.tflite", n, n, size=16).path for n in (128, 96, 64)]
    first, second, third = measure(models, PROFILE)
    assert (first.target, first.simulated) == ("edgetpu-model", True)
    assert first.speedup is None
    assert third.speedup is not None
    assert str(third.speedup) == f"{(8 * 4 + 8 * 32) / (4 * 4 + 4 * 16):.2f}x by cycles"
    assert [m.memory["cached_bytes"] for m in (first, second, third)] == [
        128 * 20 + 128 * 132,
        128 * 20 + 128 * 100,
        64 * 20 + 64 * 68,
    ]
    assert [(row.op, row.where, row.bytes) for row in third.layers] == [
        ("CONV_2D", "Edge TPU", 1280),
        ("CONV_2D", "Edge TPU", 4352),
    ]


def test_a_file_that_is_compiled_already_is_refused(tmp_path: Path) -> None:
    graph = lone_operator(
        tmp_path / "c.tflite", "CUSTOM", [(1, 4)], (1, 4), custom_code=b"edgetpu-custom-op"
    )
    with pytest.raises(TfliteError, match="Give the file that edgetpu_compiler was given"):
        measure([graph.path], PROFILE)
    assert "compiled already" in _checks(graph)["operators on the Edge TPU"].message


def test_the_terminal_shows_bytes_cycles_and_every_operator(tmp_path: Path) -> None:
    path = _convolutions(tmp_path / "m.tflite", 72, size=16).path
    done = CliRunner().invoke(cli, ["measure", str(path), str(path), "--device", "edge-tpu"])
    assert done.exit_code == 0
    for text in ("simulated by edgetpu-model", "cached 2560", "1.00x by cycles", "1, 0", "CONV_2D"):
        assert text in done.output
    done = CliRunner().invoke(cli, ["validate", str(path), "--device", "edge-tpu"])
    assert "fits on chip" in done.output


def test_a_runtime_cannot_be_chosen(tmp_path: Path) -> None:
    path = _convolutions(tmp_path / "m.tflite", 16).path
    with pytest.raises(TargetError, match="has no runtime to choose. Received: LiteRT"):
        measure([path], PROFILE, runtime="LiteRT")


def test_the_profile_names_the_instrument_and_it_is_always_ready() -> None:
    assert PROFILE.targets == ("edgetpu-model",)
    state = EDGETPU_MODEL.readiness()
    assert (state.ready, "not on the PATH" in state.detail) == (True, True)

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.convert import export
from edgeprune.core.arrays import Array
from edgeprune.core.errors import DataError, InputError, TfliteError
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.targets.checks import Reference, Verdict, check_finite, check_outputs
from edgeprune.targets.host import HOST, installed_runtimes
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import manifest_path
from tests.support.architectures import build, samples
from tests.support.gate_networks import FAMILY, ask_for_halves, save_sparse
from tests.support.profiles import changed_profile
from tests.support.runtimes import RUNTIMES, has_wheel
from tests.support.tflite_builder import Net
from tests.support.tiny_tflite import fully_connected

WEIGHTS = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.ok]


def test_a_sound_file_passes_in_every_runtime(tmp_path: Path) -> None:
    verdict = validate(fully_connected(tmp_path / "m.tflite", WEIGHTS), "xnnpack-arm64")
    assert verdict.ok
    names = [check.name for check in verdict.checks]
    for kind in ("runs", "kernels"):
        assert [name for name in names if name.startswith(kind)] == [
            *(["runs (tflite-runtime)"] if kind == "runs" and not has_wheel() else []),
            *(f"{kind} ({runtime} {installed_runtimes()[runtime]})" for runtime in RUNTIMES),
        ]


def test_a_verdict_has_the_noise_of_layers_from_the_manifest_of_this_very_file(
    tmp_path: Path,
) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    beside = manifest_path(path)
    rows = {"layers": [{"layer": "dense", "snr_db": 30.5}]}
    artifact = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    beside.write_text(json.dumps({"int8": rows, "artifact": artifact}))
    verdict = validate(path, "xnnpack-arm64")
    assert verdict.to_json()["int8"] == rows
    assert "30.5" in str(verdict)
    beside.write_text(json.dumps({"int8": rows, "artifact": {"sha256": "of another"}}))
    assert validate(path, "xnnpack-arm64").to_json()["int8"] is None


def test_a_file_that_computes_something_else_than_its_reference_fails(tmp_path: Path) -> None:
    right = fully_connected(tmp_path / "right.tflite", WEIGHTS)
    wrong_weights = WEIGHTS.copy()
    wrong_weights[3, 5] += 0.1
    wrong = fully_connected(tmp_path / "wrong.tflite", wrong_weights)
    assert validate(right, "xnnpack-arm64", reference=right).ok
    verdict = validate(wrong, "xnnpack-arm64", reference=right)
    bad = [check for check in verdict.checks if not check.ok]
    assert [check.name.split(" ")[0] for check in bad] == ["outputs"] * len(RUNTIMES)
    for check in bad:
        assert isinstance(check.value, float)
        assert check.limit == 1e-3
        # Inputs are generated within [-1, 1]: one weight moves one output by 0.1 at most.
        assert 1e-3 < check.value <= 0.1
        assert "does not compute what it should" in check.message


def test_outputs_of_another_shape_than_the_reference_fail(tmp_path: Path) -> None:
    first = fully_connected(tmp_path / "first.tflite", WEIGHTS)
    other = fully_connected(tmp_path / "other.tflite", WEIGHTS[:5])
    check = next(
        check
        for check in validate(first, "xnnpack-arm64", reference=other).checks
        if check.name.startswith("outputs")
    )
    assert not check.ok
    assert (check.value, check.limit) == ("[[4, 8]]", "[[4, 5]]")


def test_a_reference_with_other_inputs_is_bad_input(tmp_path: Path) -> None:
    first = fully_connected(tmp_path / "first.tflite", WEIGHTS)
    other = fully_connected(tmp_path / "other.tflite", WEIGHTS[:, :7])
    with pytest.raises(DataError, match="takes the same inputs"):
        validate(first, "xnnpack-arm64", reference=other)


def test_a_reference_that_does_not_run_is_bad_input(tmp_path: Path) -> None:
    first = fully_connected(tmp_path / "first.tflite", WEIGHTS)
    broken = fully_connected(tmp_path / "broken.tflite", WEIGHTS, version=40)
    with pytest.raises(InputError, match="the reference does not run"):
        validate(first, "xnnpack-arm64", reference=broken)


def test_not_a_number_in_the_outputs_fails(tmp_path: Path) -> None:
    weights = WEIGHTS.copy()
    weights[0, 0] = np.nan
    verdict = validate(fully_connected(tmp_path / "m.tflite", weights), "xnnpack-arm64")
    assert [name.split(" ")[0] for name in failed(verdict)] == ["finite", "kernels"] * len(RUNTIMES)


def test_operators_that_are_too_new_and_a_wrong_number_format_fail(tmp_path: Path) -> None:
    verdict = validate(fully_connected(tmp_path / "m.tflite", WEIGHTS, version=40), "edge-tpu")
    assert failed(verdict) == [
        *("operators", "numerics", f"runs ({RUNTIMES[0]})", "operators on the Edge TPU")
    ]
    assert "FULLY_CONNECTED version 40" in verdict.checks[0].message


def test_a_file_larger_than_the_flash_fails_with_both_numbers(tmp_path: Path) -> None:
    flash = ('flash_bytes = { value = "unknown"', "flash_bytes = { value = 500")
    own = changed_profile(tmp_path / "own.toml", "xnnpack-arm64", flash)
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    verdict = validate(path, load_profile(own))
    assert failed(verdict) == ["size"]
    size = next(check for check in verdict.checks if check.name == "size")
    assert (size.value, size.limit) == (path.stat().st_size, 500)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 60])
def test_a_file_that_does_not_parse_is_bad_input(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(TfliteError, match=r"m\.tflite"):
        validate(path, "xnnpack-arm64")


def test_given_inputs_are_used(tmp_path: Path) -> None:
    """Two files that agree at 0 and nowhere else: only data that leaves 0 tells them apart."""
    first = fully_connected(tmp_path / "first.tflite", WEIGHTS)
    second = fully_connected(tmp_path / "second.tflite", -WEIGHTS)
    zeros = [np.zeros((3, 16), np.float32)]
    assert validate(first, "xnnpack-arm64", reference=second, x=zeros).ok
    assert not validate(first, "xnnpack-arm64", reference=second, x=[zeros[0] + 1]).ok


def test_the_json_of_a_verdict_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    content = validate(path, "xnnpack-arm64").to_json()
    assert content.keys() == {"model", "device", "ok", "checks", "int8"}
    assert content["model"] == str(path)
    assert content["ok"] is True
    assert len(content["checks"]) > 5
    assert {frozenset(check) for check in content["checks"]} == {
        frozenset({"name", "kind", "ok", "value", "limit", "message"})
    }


def reference(*arrays: Any) -> Reference:
    return Reference("the reference", {f"out{i}": a for i, a in enumerate(arrays)}, quantized=False)


def test_outputs_are_matched_by_name_before_position() -> None:
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])
    wanted = Reference("r", {"a": a, "b": b}, quantized=False)
    assert check_outputs("c", {"b": b, "a": a}, wanted, "float32", [0, 0]).ok
    assert check_outputs("c", {"x": a, "y": b}, wanted, "float32", [0, 0]).ok
    assert not check_outputs("c", {"x": b, "y": a}, wanted, "float32", [0, 0]).ok


def test_int8_is_forgiven_one_step_of_its_output_scale() -> None:
    right = np.array([[0.0, 0.5, 1.0]])
    shifted = check_outputs("c", {"out0": right + 0.1}, reference(right), "int8", [0.1])
    assert shifted.value == pytest.approx(0, abs=1e-9)
    assert not check_outputs("c", {"out0": -right}, reference(right), "int8", [0.1]).ok


def test_outputs_that_hardly_vary_are_said_to_prove_little() -> None:
    flat = np.full((4, 10), 0.1)
    assert (
        "says little" in check_outputs("c", {"out0": flat}, reference(flat), "float32", [0]).message
    )
    varied = np.linspace(0, 1, 40).reshape(4, 10)
    message = check_outputs("c", {"out0": varied}, reference(varied), "float32", [0]).message
    assert "says little" not in message


@pytest.mark.slow
def test_a_keras_reference_is_matched_by_the_names_of_inputs_and_outputs(tmp_path: Path) -> None:
    """Two inputs of different shape and two outputs: any mix-up is an error or a wrong number."""
    model = build("every_kind")
    save_model(model, tmp_path / "m.keras")
    export(model, "xnnpack-arm64", tmp_path / "m.tflite")
    verdict = validate(tmp_path / "m.tflite", "xnnpack-arm64", reference=tmp_path / "m.keras")
    assert verdict.ok, verdict


@pytest.mark.slow
def test_a_dense_file_does_not_pass_for_the_pruned_model(tmp_path: Path) -> None:
    model = build("mobilenet_v1")
    pruned = prune_one_shot(model, plan(model, "ethos-u55"))
    save_model(pruned, tmp_path / "pruned.keras")
    export(model, "xnnpack-arm64", tmp_path / "dense.tflite")
    verdict = validate(
        tmp_path / "dense.tflite", "xnnpack-arm64", reference=tmp_path / "pruned.keras"
    )
    assert {name.split()[0] for name in failed(verdict)} == {"outputs"}


@pytest.mark.slow
def test_an_open_size_fails_and_still_runs(tmp_path: Path) -> None:
    import tensorflow as tf

    inputs = keras.Input((None, 4), name="signal")
    model = keras.Model(inputs, keras.layers.Conv1D(8, 3, padding="same")(inputs))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    verdict = validate(tmp_path / "m.tflite", "xnnpack-arm64")
    assert failed(verdict) == ["static shapes"]


def test_samples_of_every_input_are_made() -> None:
    assert [array.shape for array in samples(build("every_kind"), 2)] == [(2, 16, 16, 8), (2, 12)]


def test_a_file_that_only_arm64_computes_wrongly_fails_and_the_operator_is_named(
    tmp_path: Path,
) -> None:
    """No x86 run can show it: the dense file is its reference, and its outputs are equal here."""
    network = {entry.name: entry for entry in FAMILY}["dws2_same"]
    dense = network.save(tmp_path / "dense.tflite")
    broken = save_sparse(dense, tmp_path / "broken.tflite")
    verdict = validate(broken, "xnnpack-arm64", reference=dense)
    assert failed(verdict) == ["sparse network"]
    message = next(check.message for check in verdict.checks if not check.ok)
    assert "DEPTHWISE_CONV_2D" in message
    assert validate(broken, "xnnpack-x86", reference=dense).ok


def compared_net(path: Path, limit: float) -> Path:
    """Says which of four values are above a limit, and hands them on."""
    net = Net()
    x = net.tensor("x", (1, 4))
    above = net.tensor("above", (1, 4), "bool")
    net.operator("GREATER", [x, net.constant("limit", np.full(4, limit, np.float32))], [above])
    y = net.tensor("y", (1, 4))
    net.operator("ABS", [x], [y])
    return net.save(path, [x], [above, y])


@pytest.mark.slow
def test_truth_values_are_compared(tmp_path: Path) -> None:
    first = compared_net(tmp_path / "first.tflite", 0.0)
    other = compared_net(tmp_path / "other.tflite", 0.9)
    verdict = validate(first, "xnnpack-x86", reference=first)
    assert verdict.ok, verdict
    x = [np.array([[0.5, 0.95, -1, 0.1]], np.float32)]
    verdict = validate(first, "xnnpack-x86", reference=other, x=x)
    assert {name.split()[0] for name in failed(verdict)} == {"outputs"}
    check = next(check for check in verdict.checks if not check.ok)
    assert check.value == 0.5, "two of four truth values differ"


def test_texts_are_compared() -> None:
    right = np.array([[b"cat", b"dog"]])
    wrong = np.array([[b"cat", b"cow"]])
    assert check_outputs("c", {"out0": right}, reference(right), "float32", [0]).ok
    check = check_outputs("c", {"out0": wrong}, reference(right), "float32", [0])
    assert (check.ok, check.value) == (False, 0.5)
    assert check_finite({"out0": right}, "LiteRT").ok


def map_net(path: Path, shape: tuple[int, ...], weights: float = 2.0) -> Path:
    """Multiplies a tensor, and sums it up to a scalar beside that."""
    net = Net()
    x, y, total = net.tensor("x", shape), net.tensor("y", shape), net.tensor("total", ())
    net.operator("MUL", [x, net.constant("c", np.full(1, weights, np.float32))], [y])
    net.graph.operators[0].builtinOptionsType = schema.BuiltinOptions.MulOptions
    net.graph.operators[0].builtinOptions = schema.MulOptionsT()
    axes = net.constant("axes", np.arange(len(shape), dtype=np.int32))
    net.operator("SUM", [y, axes], [total], 1, schema.ReducerOptionsT())
    return net.save(path, [x], [y, total])


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 4), (80,), (2, 3, 3, 2), (1, 4)])
def test_a_file_whose_first_axis_is_no_batch_is_fed_wholly(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = map_net(tmp_path / "m.tflite", shape)
    verdict = validate(path, "xnnpack-x86", reference=path)
    assert verdict.ok, verdict
    runs = [check.value for check in verdict.checks if check.kind == "runs"]
    assert runs == [*([] if has_wheel() else [None]), *(["runs"] * len(RUNTIMES))]
    other = map_net(tmp_path / "other.tflite", shape, weights=2.1)
    sample = shape[1:] if shape[0] == 1 else shape
    x = [np.ones((5, *sample), np.float32)]
    assert {
        name.split()[0] for name in failed(validate(other, "xnnpack-x86", reference=path, x=x))
    } == {"outputs"}


@pytest.mark.slow
def test_a_keras_reference_runs_the_samples_of_a_fixed_batch(tmp_path: Path) -> None:
    """A file for four samples at a time was said to take other inputs than its own model."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    model.save(tmp_path / "m.keras")
    kernel, bias = model.get_weights()

    def batch_of_four(kernel: Array) -> Path:
        net = Net()
        x, y = net.tensor("x", (4, 8)), net.tensor("y", (4, 3))
        weights = net.constant("w", np.ascontiguousarray(kernel.T))
        net.operator("FULLY_CONNECTED", [x, weights, net.constant("b", bias)], [y])
        return net.save(tmp_path / "m.tflite", [x], [y])

    for factor, wrong in ((1, set()), (1.1, {"outputs"})):
        path = batch_of_four(kernel * np.float32(factor))
        verdict = validate(path, "xnnpack-x86", reference=tmp_path / "m.keras")
        assert {name.split()[0] for name in failed(verdict)} == wrong


def test_samples_of_a_file_without_a_batch_axis_are_whole_tensors(tmp_path: Path) -> None:
    graph = read(map_net(tmp_path / "m.tflite", (8, 4)))
    x = np.arange(96, dtype=np.float32).reshape(3, 8, 4)
    for runtime in installed_runtimes():
        y, total = HOST.run(graph, [x], runtime).outputs
        np.testing.assert_array_equal(y, 2 * x)
        np.testing.assert_array_equal(total, 2 * x.sum(axis=(1, 2)))


@pytest.mark.parametrize("dtype", ["string", "complex64", "resource"])
def test_inputs_that_cannot_be_made_up_are_named(tmp_path: Path, dtype: str) -> None:
    net = Net()
    x = net.tensor("words", (1, 4), dtype)
    path = net.save(tmp_path / "m.tflite", [x], [x])
    with pytest.raises(DataError, match=f"m.tflite: input 'x0': expected numbers.*: {dtype}"):
        validate(path, "xnnpack-x86")


def test_an_input_of_terabytes_is_refused(tmp_path: Path) -> None:
    net = Net()
    x = net.tensor("x", (1, 1 << 20, 1 << 20))
    path = net.save(tmp_path / "m.tflite", [x], [x])
    with pytest.raises(DataError, match="expected at most 134217728 values"):
        validate(path, "xnnpack-x86")


def test_a_sparse_file_that_asks_for_half_precision_is_dangerous(tmp_path: Path) -> None:
    network = {entry.name: entry for entry in FAMILY}["base"]
    dense = network.save(tmp_path / "dense.tflite")
    sparse = save_sparse(dense, tmp_path / "sparse.tflite")
    verdict = validate(ask_for_halves(sparse, tmp_path / "halves.tflite"), "xnnpack-arm64")
    assert failed(verdict) == ["sparse network"]
    check = next(check for check in verdict.checks if not check.ok)
    assert check.value == "dangerous"
    assert "half precision" in check.message
    assert validate(sparse, "xnnpack-arm64").ok


def test_a_sound_sparse_file_is_not_proven_without_the_instrument(tmp_path: Path) -> None:
    network = {entry.name: entry for entry in FAMILY}["base"]
    dense = network.save(tmp_path / "dense.tflite")
    verdict = validate(save_sparse(dense, tmp_path / "s.tflite"), "xnnpack-arm64", reference=dense)
    assert verdict.ok
    assert any("not proven on ARM64" in check.message for check in verdict.checks)


def test_the_runtime_versions_of_a_profile_reach_the_gate(tmp_path: Path) -> None:
    network = {entry.name: entry for entry in FAMILY}["dws2_same"]
    broken = save_sparse(network.save(tmp_path / "dense.tflite"), tmp_path / "broken.tflite")
    version = ('version = "2.14.0"', 'version = "2.15.0"')
    own = changed_profile(tmp_path / "own.toml", "xnnpack-arm64", version)

    def said(device: Path | str) -> str:
        checks = validate(broken, device).checks
        return next(check.message for check in checks if check.kind == "sparse-network")

    assert "tflite-runtime on ARM64 computes wrong numbers: " in said("xnnpack-arm64")
    assert "wrong numbers (by the rules of tflite-runtime 2.14.0): " in said(own)

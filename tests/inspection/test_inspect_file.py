"""What `inspect` says about files of every kind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.finding import Finding
from edgeprune.core.runtime import Runtime
from edgeprune.inspection.inspect_file import Inspection, inspect
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.gate_networks import FAMILY, ask_for_halves, save_sparse
from tests.support.printing import HOSTILE, check_printed
from tests.support.profiles import changed_profile
from tests.support.reading import count_bytes_of_values
from tests.support.runtime_judge import RUNTIMES, outputs
from tests.support.tflite_builder import Net, convolution_net, dense_net, prune

Array = np.ndarray[Any, np.dtype[Any]]
DIRECT = EncodingRules(direct_float32_from=0.5, direct_int8_from=0.5)


def floats(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def integers(*shape: int) -> Array:
    return np.random.default_rng(0).integers(-127, 128, shape).astype(np.int8)


def encoded(source: Path, rules: EncodingRules = DIRECT) -> Path:
    encode_file(source, rules, source.with_suffix(".encoded"))
    return source.with_suffix(".encoded")


def edited(path: Path, edit: Callable[[Any], None]) -> Path:
    draft = load(path)
    edit(draft.model.subgraphs[0])
    write(draft, path)
    return path


def rules_of(report: Inspection) -> set[str]:
    return {finding.rule for finding in report.findings}


def reversing(path: Path, axes: list[int]) -> Path:
    """A map of three channels that is turned round."""
    net = Net()
    x, y = (net.tensor(name, (1, 4, 4, 3)) for name in "xy")
    along = net.constant("axes", np.array(axes, np.int32))
    net.operator("REVERSE_V2", [x, along], [y], options=schema.ReverseV2OptionsT())
    return net.save(path, [x], [y])


@pytest.mark.parametrize(("axes", "named"), [([1], set()), ([1, 2, 3], {"reversal-misread"})])
def test_a_reversal_of_several_axes_is_named_for_the_runtime_that_does_one(
    tmp_path: Path, axes: list[int], named: set[str]
) -> None:
    path = reversing(tmp_path / "m", axes)
    assert rules_of(inspect(path, "xnnpack-arm64")) == named
    read_for = [each.message for each in inspect(path, "xnnpack-arm64").findings]
    assert all("tflite-runtime 2.14.0 reverses the first alone" in said for said in read_for)


def test_the_document_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m", prune(floats(64, 64), 0.75, (1, 1)))
    document = json.loads(json.dumps(inspect(path, "xnnpack-x86").to_json()))
    assert document["model"] == str(path)
    assert document["device"] == "xnnpack-x86"
    assert document["size_bytes"] == document["sizes"]["file"] == path.stat().st_size
    assert document["gzip_bytes"] == len(gzip.compress(path.read_bytes(), 6, mtime=0))
    assert document["parameters"] == 4096
    assert document["sparsity"] == pytest.approx(0.75, abs=0.03)
    assert document["sparse_inference"] == "none"
    assert document["ops"] == [
        {
            "index": 0,
            "op": "FULLY_CONNECTED",
            "version": 1,
            "kernel": "dense",
            "sparse": False,
            "sparsity": document["sparsity"],
            "reason": "takes less storage; DENSIFY restores it when the model is loaded",
        }
    ]
    assert set(document["findings"][0]) == {"op", "rule", "message", "remedy"}
    assert document["sizes"]["weights"] == 4 * 4096
    assert document["sizes"]["weights_sparse"] == document["tensors"][0]["sparse_bytes"]


def test_zeros_that_are_stored_densely_are_pointed_out(tmp_path: Path) -> None:
    report = inspect(dense_net(tmp_path / "m", prune(floats(64, 64), 0.9, (1, 1))))
    (finding,) = report.findings
    assert (finding.op, finding.rule) == (0, "dense-zeros")
    assert "edgeprune encode" in finding.remedy
    network = next(network for network in FAMILY if network.name == "maxpool_mid")
    found = inspect(network.save(tmp_path / "blocked")).findings
    assert len(found) == 3, "one for each 1x1 convolution"
    assert {finding.rule for finding in found} == {"dense-zeros"}
    assert all("MAX_POOL_2D" in finding.remedy for finding in found)


def test_weights_behind_densify_count_for_their_operator(tmp_path: Path) -> None:
    report = inspect(
        encoded(convolution_net(tmp_path / "c", prune(integers(64, 1, 1, 64), 0.9, (1, 1, 1, 1))))
    )
    densify, convolution = report.ops
    assert (densify.op, densify.sparsity) == ("DENSIFY", None)
    assert convolution.kernel == "dense after DENSIFY"
    assert convolution.sparsity == pytest.approx(0.9, abs=0.02)
    assert not convolution.sparse
    assert report.parameters == 4096
    assert report.sparse_inference == "not-applicable"
    assert rules_of(report) == {"densify-needs-tflite"}


def test_a_sparse_file_that_asks_for_half_precision_is_dangerous(tmp_path: Path) -> None:
    network = next(network for network in FAMILY if network.name == "base")
    sparse = save_sparse(network.save(tmp_path / "dense"), tmp_path / "sparse")
    assert inspect(sparse).sparse_inference == "all"
    report = inspect(ask_for_halves(sparse, tmp_path / "halves"))
    finding = next(f for f in report.findings if f.rule == "sparse-network-broken")
    assert "half precision (metadata 'reduced_precision_support')" in finding.message
    assert {op.kernel for op in report.ops if op.op == "CONV_2D"} == {"wrong"}
    assert not any(op.sparse for op in report.ops)


@pytest.mark.parametrize(
    ("device", "kernel", "sparse_inference"),
    [
        ("xnnpack-x86", "dense after DENSIFY", "none"),
        ("xnnpack-arm64", "sparse convolution", "all"),
        ("arm-neon-int8", "sparse convolution", "all"),
        (None, "sparse convolution", "all"),
    ],
)
def test_convolutions_skip_zeros_on_devices_with_sparse_networks_only(
    tmp_path: Path, device: str | None, kernel: str, sparse_inference: str
) -> None:
    network = next(network for network in FAMILY if network.name == "base")
    report = inspect(save_sparse(network.save(tmp_path / "m"), tmp_path / "sparse"), device)
    pointwise = [op for op in report.ops if op.op == "CONV_2D"][1:]
    assert {op.kernel for op in pointwise} == {kernel}
    assert {op.sparse for op in pointwise} == {kernel == "sparse convolution"}
    assert report.sparse_inference == sparse_inference


def test_a_file_that_only_arm64_computes_wrongly_is_sound_elsewhere(tmp_path: Path) -> None:
    network = next(network for network in FAMILY if network.name == "dws2_same")
    path = save_sparse(network.save(tmp_path / "m"), tmp_path / "sparse")
    assert "sparse-network-broken" in rules_of(inspect(path, "xnnpack-arm64"))
    report = inspect(path, "xnnpack-x86")
    assert "sparse-network-broken" not in rules_of(report)
    assert not {"wrong", "sparse convolution"} & {op.kernel for op in report.ops}


def test_a_device_of_ones_own_says_by_its_encoding_whether_networks_run_sparsely(
    tmp_path: Path,
) -> None:
    """A board with one instrument of its own, which says nothing of processors."""
    targets = ('targets = ["arm64-emulated", "ssh", "adb"]', 'targets = ["ssh"]')
    own = changed_profile(tmp_path / "own.toml", "xnnpack-arm64", targets)
    network = next(network for network in FAMILY if network.name == "base")
    path = save_sparse(network.save(tmp_path / "m"), tmp_path / "sparse")
    assert inspect(path, own).sparse_inference == "all"
    own.write_text(own.read_text().replace("sparse_networks = true", "sparse_networks = false"))
    assert inspect(path, own).sparse_inference == "none"


@pytest.mark.parametrize("scales", [1, 16])
@pytest.mark.parametrize("axis", [-1, 0, 1, 3])
def test_scales_along_an_axis_that_a_bias_has_not_are_a_finding(
    tmp_path: Path, axis: int, scales: int
) -> None:
    """Both runtimes refuse the file, and only them: axis 0 of one is right."""

    def change(graph: Any) -> None:
        bias = graph.tensors[2].quantization
        bias.quantizedDimension = axis
        bias.scale, bias.zeroPoint = bias.scale[:scales], bias.zeroPoint[:scales]

    path = edited(convolution_net(tmp_path / "m", integers(1, 3, 3, 16), depthwise=True), change)
    findings = [f for f in inspect(path).findings if f.rule == "quantized-axis"]
    if axis == 0:
        assert not findings
    else:
        (finding,) = findings
        assert finding.op == 0
        assert f"'b' are along axis {axis}, of 1 that it has" in finding.message
    for runtime in RUNTIMES if axis or scales == 16 else ():
        if axis:
            with pytest.raises(RuntimeError, match="quantized_dimension must be in range"):
                outputs(runtime, [path], tmp_path)
        else:
            assert outputs(runtime, [path], tmp_path)


def test_every_operator_gets_the_misses_of_its_own_version(tmp_path: Path) -> None:
    net = Net()
    x = net.tensor("x", (1, 4))
    for version in (1, 90, 91):
        net.operator("RELU", [x], [net.tensor(f"y{version}", (1, 4))], version)
    findings = inspect(net.save(tmp_path / "m", [x], [1])).findings
    assert [finding.op for finding in findings] == [1, 1, 2, 2]
    assert ["version 9" in finding.message for finding in findings] == [True] * 4


def test_a_direct_sparse_matrix_is_computed_sparsely(tmp_path: Path) -> None:
    report = inspect(encoded(dense_net(tmp_path / "m", prune(floats(64, 256), 0.8, (1, 4)))))
    assert report.ops[0].sparse
    assert report.ops[0].kernel == "direct sparse"
    assert report.sparse_inference == "all"
    assert rules_of(report) == {"sparse-not-for-micro"}


def test_a_sparse_matrix_in_the_wrong_version_is_misread(tmp_path: Path) -> None:
    path = encoded(dense_net(tmp_path / "m", prune(floats(64, 256), 0.8, (1, 4))))
    draft = load(path)
    draft.model.operatorCodes[0].version = 1
    write(draft, path)
    report = inspect(path)
    assert "sparse-version" in rules_of(report)
    assert report.ops[0].kernel == "wrong"
    assert report.sparse_inference == "none"


def test_a_sparse_convolution_without_densify_is_misread(tmp_path: Path) -> None:
    path = encoded(
        convolution_net(tmp_path / "c", prune(integers(64, 1, 1, 64), 0.9, (1, 1, 1, 1)))
    )

    def skip_densify(graph: Any) -> None:
        graph.operators[1].inputs = graph.operators[1].inputs.copy()
        graph.operators[1].inputs[1] = graph.operators[0].inputs[0]
        del graph.operators[0]

    report = inspect(edited(path, skip_densify))
    assert rules_of(report) == {"sparse-without-densify"}
    assert report.ops[0].kernel == "wrong"


def test_a_sparse_float16_matrix_needs_densify_in_front_of_dequantize(tmp_path: Path) -> None:
    """TensorFlow 2.20's EXPERIMENTAL_SPARSITY leaves it out; the outputs are NaN."""
    path = encoded(dense_net(tmp_path / "m", prune(floats(64, 64), 0.9, (1, 1)), "float16"))

    def skip_densify(graph: Any) -> None:
        graph.operators[1].inputs = graph.operators[0].inputs
        del graph.operators[0]

    report = inspect(edited(path, skip_densify))
    (finding,) = report.findings
    assert (finding.op, finding.rule) == (2, "sparse-without-densify")
    assert "DEQUANTIZE" in finding.message
    assert report.sparse_inference == "none"


def test_layouts_without_a_sparse_kernel_are_misread(tmp_path: Path) -> None:
    path = encoded(dense_net(tmp_path / "m", prune(floats(64, 256), 0.8, (1, 4))))

    def transpose(graph: Any) -> None:
        weights = graph.tensors[1]
        weights.sparsity.traversalOrder = np.array([1, 0, 2], np.int32)
        weights.shape = np.array([64, 256], np.int32)
        levels = weights.sparsity.dimMetadata
        levels[0].denseSize = 64
        levels[1].arraySegments.values = np.zeros(65, np.uint8)
        levels[1].arraySegments.values[-1] = 1
        levels[1].arraySegmentsType = schema.SparseIndexVector.Uint8Vector
        levels[1].arraySegments = schema.Uint8VectorT(levels[1].arraySegments.values)
        levels[1].arrayIndices = schema.Uint8VectorT(np.zeros(1, np.uint8))
        levels[1].arrayIndicesType = schema.SparseIndexVector.Uint8Vector

    draft = load(path)
    transpose(draft.model.subgraphs[0])
    draft.model.buffers[draft.graph.tensors[1].buffer].data = np.ones(16, np.uint8)
    write(draft, path)
    assert "sparse-layout" in rules_of(inspect(path))


def test_scales_per_channel_are_too_much_for_tflite_runtime(tmp_path: Path) -> None:
    source = dense_net(
        tmp_path / "m", prune(integers(64, 256), 0.8, (1, 16)), "int8", per_channel=True
    )
    report = inspect(
        encoded(source, EncodingRules((Runtime("LiteRT", "2.1.6"),), direct_int8_from=0.5))
    )
    assert rules_of(report) == {"sparse-not-for-micro", "sparse-per-channel"}


def test_int8_matrices_behind_densify_do_not_load_in_litert(tmp_path: Path) -> None:
    source = dense_net(tmp_path / "m", prune(integers(64, 256), 0.8, (1, 1)), "int8")
    report = inspect(encoded(source, EncodingRules((Runtime("tflite-runtime", "2.14.0"),))))
    assert rules_of(report) == {"densify-needs-tflite", "densify-not-loaded"}


def family(name: str, folder: Path) -> Path:
    network = next(network for network in FAMILY if network.name == name)
    return save_sparse(network.save(folder / "dense"), folder / "sparse")


def test_a_sparse_network_is_reported_operator_by_operator(tmp_path: Path) -> None:
    report = inspect(family("base", tmp_path))
    assert report.sparse_inference == "all"
    assert {op.kernel for op in report.ops if op.sparse} == {"sparse convolution"}
    assert sum(op.sparse for op in report.ops) == 3


def test_a_network_that_fits_partly_is_reported_with_what_breaks_it(tmp_path: Path) -> None:
    report = inspect(family("dws2_same", tmp_path))
    assert report.sparse_inference == "part"
    (finding,) = [f for f in report.findings if f.rule == "sparse-network-broken"]
    assert finding.op is not None
    assert report.ops[finding.op].op == "DEPTHWISE_CONV_2D"
    assert "ZeroPadding2D" in finding.remedy
    assert "wrong" in {op.kernel for op in report.ops}


def test_a_network_that_fits_nowhere_is_reported_as_dense(tmp_path: Path) -> None:
    report = inspect(family("stem_same", tmp_path))
    assert report.sparse_inference == "none"
    found = [f for f in report.findings if f.rule == "sparse-network-off"]
    assert [report.ops[f.op].op for f in found if f.op is not None] == ["CONV_2D", "CONV_2D"]
    assert not any(op.sparse for op in report.ops)


def test_operators_and_shapes_that_runtimes_reject_are_named(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4), "int8")
    net.graph.tensors[x].shapeSignature = np.array([-1, 4], np.int32)
    w = net.constant("w", np.ones((4, 4), np.int8), scales=[0.1] * 4)
    outputs = [net.tensor(f"o{i}", (1, 4)) for i in range(4)]
    net.operator("FULLY_CONNECTED", [x, w, -1], outputs[:1], 12, schema.FullyConnectedOptionsT())
    net.operator("TRANSPOSE_CONV", [y, w, x], outputs[1:2], 2)
    net.operator("DIV", [y, y], outputs[2:3])
    net.operator("CUSTOM", [x], outputs[3:], custom_code=b"Mine")
    report = inspect(net.save(tmp_path / "m", [x, y], outputs))
    assert [(finding.op, finding.rule) for finding in report.findings] == [
        (None, "dynamic-input"),
        (0, "operator-version"),
        (1, "operator-types"),
        (2, "operator-types"),
        (3, "custom-operator"),
    ]


def test_zero_is_what_the_zero_point_says(tmp_path: Path) -> None:
    net = Net()
    stored = np.full((4, 5), 128, np.uint8)
    stored[0] = 0
    net.constant("w", stored, scales=[0.1], zero_point=128)
    report = inspect(net.save(tmp_path / "m", [], []))
    assert report.sparsity == 0.75
    assert report.tensors[0].sparse_bytes is None


def test_weights_that_share_their_bytes_count_once(tmp_path: Path) -> None:
    net = Net()
    w = net.constant("w", floats(8, 8))
    twin = net.tensor("twin", (8, 8))
    net.graph.tensors[twin].buffer = net.graph.tensors[w].buffer
    report = inspect(net.save(tmp_path / "m", [], []))
    assert (report.parameters, report.weight_bytes, len(report.tensors)) == (64, 256, 2)


def test_weights_are_read_twice_however_many_operators_use_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to count their zeros, and once to find the smallest way to store them."""
    net = Net()
    x = net.tensor("x", (1, 100))
    weights = [net.constant(f"w{i}", prune(floats(100, 100), 0.5, (1, 1))) for i in range(3)]
    for i, w in enumerate(weights * 4):
        y = net.tensor(f"y{i}", (1, 100))
        net.operator("FULLY_CONNECTED", [x, w, -1], [y], 1, schema.FullyConnectedOptionsT())
        x = y
    path = net.save(tmp_path / "m", [0], [x])
    read = count_bytes_of_values(monkeypatch)
    assert inspect(path).parameters == 30_000
    assert sum(read) == 2 * 30_000 * 4


def test_an_inspection_prints_sizes_operators_and_findings(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m", prune(floats(64, 64), 0.75, (1, 1)))
    found = replace(
        inspect(path, "xnnpack-x86"),
        model="m",
        sparsity=0.75,
        findings=(Finding(0, "rule", f"reads {HOSTILE}", "Replace it."),),
        manifest={"device": "xnnpack-x86", "versions": {"edgeprune": "0.1"}, "model_sha256": "ab"},
    )
    check_printed(
        found,
        "m: 4096 weights, 0.750 of them zero; sparse inference: none",
        *(f"file {found.size_bytes}", f"file after gzip {found.gzip_bytes}"),
        "Made by edgeprune 0.1 for xnnpack-x86 from the model with sha256 ab",
        *("FULLY_CONNECTED", found.ops[0].kernel),
        *("Findings", "reads block/", "Replace it."),
    )
    assert "Findings" not in str(replace(found, findings=()))

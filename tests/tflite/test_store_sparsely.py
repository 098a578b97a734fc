"""Encoded files in the real runtimes, and the way back bit for bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.errors import OutputError
from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.sparse_tensor import Layout
from edgeprune.tflite.gate import judge_file, never_engages
from edgeprune.tflite.storage_plan import EncodingRules, TensorPlan, plan_encoding
from edgeprune.tflite.store_densely import densify_file
from edgeprune.tflite.store_sparsely import EncodingResult, apply_plans, encode_file
from tests.support.gate_networks import FAMILY, SAME, Network, Trunk, ask_for_halves
from tests.support.runtime_judge import RUNTIMES, outputs
from tests.support.tflite_builder import Net, convolution_net, dense_net, prune
from tests.support.tiny_tflite import fully_connected

Array = np.ndarray[Any, np.dtype[Any]]

TFLITE_RUNTIME, LITERT = Runtime("tflite-runtime", "2.14.0"), Runtime("LiteRT", "2.1.6")
DIRECT = EncodingRules(direct_float32_from=0.5, direct_int8_from=0.5, direct_dynamic_range_from=0.5)


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


@dataclass(frozen=True)
class Case:
    """A dense file, what it became, and the way back."""

    source: Path
    encoded: Path
    restored: Path
    result: EncodingResult

    @property
    def plan(self) -> TensorPlan:
        return self.result.tensors[0]


def encode_case(source: Path, rules: EncodingRules = DIRECT) -> Case:
    encoded, restored = source.with_suffix(".encoded"), source.with_suffix(".restored")
    result = encode_file(source, rules, encoded)
    densify_file(encoded, restored)
    return Case(source, encoded, restored, result)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encode")


@pytest.fixture(scope="module")
def cases(folder: Path) -> Mapping[str, Case]:
    blocks_4, blocks_16 = (1, 4), (1, 16)
    wide, small = (128, 256), (64, 1, 1, 96)
    files = {
        "float 1x4": dense_net(folder / "a", prune(floats(*wide), 0.8, blocks_4)),
        "float no bias": dense_net(folder / "b", prune(floats(*wide), 0.8, blocks_4), bias=False),
        "float random": dense_net(folder / "c", prune(floats(*wide), 0.8, (1, 1))),
        "float16": dense_net(folder / "d", prune(floats(*wide), 0.8, (1, 1)), "float16"),
        "int8 1x16": dense_net(folder / "e", prune(integers(*wide), 0.8, blocks_16), "int8"),
        "dynamic range 1x16": dense_net(
            folder / "f", prune(integers(*wide), 0.8, blocks_16), "dynamic-range"
        ),
        "conv 1x1": convolution_net(folder / "g", prune(integers(*small), 0.8, (1, 1, 1, 1))),
        "conv 1x1 x2": convolution_net(folder / "h", prune(integers(*small), 0.8, (2, 1, 1, 1))),
        "conv 3x3": convolution_net(folder / "i", prune(integers(64, 3, 3, 32), 0.8, (4, 1, 1, 1))),
        "depthwise": convolution_net(
            folder / "j", prune(integers(1, 3, 3, 256), 0.9, (1, 1, 1, 1)), depthwise=True
        ),
        "all zero": convolution_net(folder / "k", np.zeros((64, 1, 1, 96), np.int8)),
    }
    return {name: encode_case(path) for name, path in files.items()}


@pytest.fixture(scope="module")
def judged(cases: Mapping[str, Case], folder: Path) -> Mapping[tuple[str, str], list[Array]]:
    """For each runtime and case: the outputs of the dense, the encoded and the restored file."""
    files = [p for case in cases.values() for p in (case.source, case.encoded, case.restored)]
    answers = {}
    for runtime in RUNTIMES:
        computed = outputs(runtime, files, folder)
        for place, name in enumerate(cases):
            answers[runtime, name] = [one[0] for one in computed[3 * place : 3 * place + 3]]
    return answers


EXPECTED = {
    "float 1x4": "direct",
    "float no bias": "direct",
    "float random": "densify",
    "float16": "densify",
    "int8 1x16": "direct",
    "dynamic range 1x16": "direct",
    "conv 1x1": "densify",
    "conv 1x1 x2": "densify",
    "conv 3x3": "densify",
    "depthwise": "densify",
    "all zero": "densify",
}


@pytest.mark.parametrize(("name", "way"), EXPECTED.items())
def test_each_kind_of_weight_is_stored_as_the_runtimes_take_it(
    cases: Mapping[str, Case], name: str, way: str
) -> None:
    case = cases[name]
    assert case.plan.storage == way
    assert case.result.bytes_after < case.result.bytes_before
    assert case.result.bytes_after == case.encoded.stat().st_size


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", EXPECTED)
def test_the_runtimes_compute_the_same_from_the_encoded_file(
    judged: Mapping[tuple[str, str], list[Array]], runtime: str, name: str
) -> None:
    dense, encoded, restored = judged[runtime, name]
    assert name == "all zero" or np.std(dense.astype(np.float64)) > 0.5
    assert np.array_equal(dense, restored)
    if EXPECTED[name] == "densify":
        assert np.array_equal(dense, encoded)
    elif dense.dtype == np.float32:
        assert np.abs(dense - encoded).max() <= 2e-6 * np.abs(dense).max()
    else:
        assert np.abs(dense.astype(int) - encoded).max() <= 1


@pytest.mark.parametrize("name", EXPECTED)
def test_densify_gives_back_the_file_that_was_encoded(cases: Mapping[str, Case], name: str) -> None:
    before, after = read(cases[name].source), read(cases[name].restored)
    assert [t.name for t in after.tensors] == [t.name for t in before.tensors]
    assert [t.data.tobytes() for t in after.tensors] == [t.data.tobytes() for t in before.tensors]
    assert [t.scales.tolist() for t in after.tensors] == [t.scales.tolist() for t in before.tensors]
    versions = [(o.op, o.version, o.inputs, o.outputs) for o in after.operators]
    assert versions == [(o.op, o.version, o.inputs, o.outputs) for o in before.operators]


def test_interface_and_metadata_stay_untouched(cases: Mapping[str, Case]) -> None:
    for case in cases.values():
        before, after = read(case.source), read(case.encoded)
        assert after.description == before.description == "made by a test"
        assert after.metadata == before.metadata
        assert after.signatures == before.signatures
        assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
        names = [tensor.name for tensor in before.tensors]
        assert [tensor.name for tensor in after.tensors][: len(names)] == names


def test_a_densify_source_carries_no_quantization(cases: Mapping[str, Case]) -> None:
    graph = read(cases["conv 1x1"].encoded)
    (source,) = [tensor for tensor in graph.tensors if tensor.sparse]
    assert source.scales.size == 0
    assert graph.tensors[cases["conv 1x1"].plan.tensor].scales.size == 64


def test_blocks_of_outputs_are_stored_column_by_column_where_that_is_smaller(
    tmp_path: Path,
) -> None:
    weights = prune(integers(512, 1, 1, 512), 0.8, (2, 1, 1, 1))
    case = encode_case(convolution_net(tmp_path / "wide", weights))
    assert case.plan.layout == Layout((3, 1, 2, 0, 4), (0,), (2,), (3,))


LAYOUTS_2D = (
    Layout((0, 1), csr=(1,)),
    Layout((1, 0), csr=(1,)),
    Layout((0, 1), csr=(0, 1)),
    Layout((0, 1, 2), (0,), (2,), (1,)),
    Layout((1, 0, 2), (0,), (4,), (1,)),
    Layout((0, 1, 2), (1,), (8,), (1,)),
    Layout((1, 0, 2), (1,), (2,), (1,)),
)
LAYOUTS_4D = (
    Layout((0, 1, 2, 3), csr=(3,)),
    Layout((3, 1, 2, 0), csr=(3,)),
    Layout((3, 1, 2, 0, 4), (0,), (2,), (3,)),
    Layout((3, 1, 2, 0, 4), (0,), (4,), (3,)),
    Layout((0, 1, 2, 3, 4), (0,), (8,), (3,)),
    Layout((0, 1, 2, 3, 4), (3,), (2,), (3,)),
    Layout((0, 3, 1, 2), csr=(3,)),
)


def test_the_runtimes_decode_every_layout_as_we_do(tmp_path: Path) -> None:
    """Random shapes, types and densities; forced layouts, even those that are never smallest."""
    rng = np.random.default_rng(5)
    files = []
    for i, layout in enumerate(LAYOUTS_2D * 2 + LAYOUTS_4D * 2):
        shape = [int(n) for n in rng.integers(1, 5, len(layout.traversal) - len(layout.block)) * 8]
        sparsity = rng.uniform(0.1, 0.99)
        path = tmp_path / f"{i}"
        if len(shape) == 2:
            weights = prune(floats(*shape, seed=i), sparsity, (1, 1), seed=i)
            dense_net(path, weights, ("float32", "float16")[i % 2])
        else:
            shape[1:3] = [3, 1 + i % 3]
            convolution_net(path, prune(integers(*shape, seed=i), sparsity, (1, 1, 1, 1), seed=i))
        draft = load(path)
        (plan,) = plan_encoding(draft.graph, EncodingRules())
        apply_plans(draft, [replace(plan, storage="densify", layout=layout)])
        write(draft, path.with_suffix(".forced"))
        files += [path, path.with_suffix(".forced")]
    for runtime in RUNTIMES:
        computed = outputs(runtime, files, tmp_path)
        for dense, forced in zip(computed[::2], computed[1::2], strict=True):
            assert np.array_equal(dense[0], forced[0])


def reason(source: Path, rules: EncodingRules = DIRECT) -> str:
    (plan,) = plan_encoding(read(source), rules)
    assert plan.storage == "dense"
    return plan.reason


def ways(source: Path, rules: EncodingRules = DIRECT) -> set[str]:
    return {plan.storage for plan in plan_encoding(read(source), rules)}


def test_float_weights_go_through_densify_where_no_sparse_network_can_begin(
    tmp_path: Path,
) -> None:
    weights = prune(floats(64, 1, 1, 96), 0.9, (1, 1, 1, 1))
    assert ways(convolution_net(tmp_path / "conv", weights, dtype="float32")) == {"densify"}
    weights = prune(floats(1, 3, 3, 256), 0.9, (1, 1, 1, 1))
    path = convolution_net(tmp_path / "dw", weights, depthwise=True, dtype="float32")
    assert ways(path) == {"densify"}


@pytest.mark.parametrize("network", FAMILY, ids=lambda network: network.name)
def test_float_convolutions_are_encoded_only_in_networks_that_run_sparsely_as_a_whole(
    tmp_path: Path, network: Network
) -> None:
    path = network.save(tmp_path / "net")
    never = never_engages(read(path))
    expected = network.verdicts == ("on", "on") or never
    rules = EncodingRules((TFLITE_RUNTIME, LITERT))
    assert ("densify" in ways(path, rules)) == expected
    for place, runtime in enumerate((TFLITE_RUNTIME, LITERT)):
        alone = ways(path, EncodingRules((runtime,)))
        assert ("densify" in alone) == (network.verdicts[place] == "on" or never)


NETWORKS = EncodingRules((TFLITE_RUNTIME, LITERT), sparse_networks=True)


@pytest.mark.parametrize("name", ["base", "dws2_same"])
def test_a_network_that_runs_sparsely_loses_its_request_for_half_precision(
    tmp_path: Path, name: str
) -> None:
    network = next(network for network in FAMILY if network.name == name)
    source = ask_for_halves(network.save(tmp_path / "dense"), tmp_path / "source")
    result = encode_file(source, NETWORKS, tmp_path / "out")
    assert "(metadata 'reduced_precision_support') is dropped" in result.network
    graph = read(tmp_path / "out")
    assert any(operator.op == "DENSIFY" for operator in graph.operators)
    assert "reduced_precision_support" not in graph.metadata
    assert judge_file(graph, NETWORKS.runtimes) is None
    for runtime in RUNTIMES:
        (before,), (after,) = outputs(runtime, [source, tmp_path / "out"], tmp_path)
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize("rules", [NETWORKS, DIRECT], ids=["networks", "none"])
def test_a_network_that_cannot_run_sparsely_keeps_half_precision_and_stays_dense(
    tmp_path: Path, rules: EncodingRules
) -> None:
    network = next(network for network in FAMILY if network.name == "maxpool_mid")
    source = ask_for_halves(network.save(tmp_path / "dense"), tmp_path / "source")
    result = encode_file(source, rules, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == source.read_bytes()
    assert any("half precision" in plan.reason for plan in result.tensors)


def test_nothing_is_rewritten_where_no_runtime_skips_zeros_on_the_core(tmp_path: Path) -> None:
    network = next(member for member in FAMILY if member.name == "all_same")
    source = network.save(tmp_path / "net")
    rules = replace(NETWORKS, no_gain="nothing skips zeros there")
    result = encode_file(source, rules, tmp_path / "out")
    assert (result.rewrites, result.network) == ((), rules.no_gain)
    assert encode_file(source, NETWORKS, tmp_path / "out").rewrites


def test_a_device_without_sparse_networks_keeps_half_precision(tmp_path: Path) -> None:
    network = next(network for network in FAMILY if network.name == "base")
    source = ask_for_halves(network.save(tmp_path / "dense"), tmp_path / "source")
    encode_file(source, EncodingRules(), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_no_integer_goes_through_densify_in_a_float_network_that_it_breaks(tmp_path: Path) -> None:
    """One DENSIFY of any type makes XNNPACK try: the float part fits only partly."""
    trunk = Trunk()
    x = trunk.stem()
    for _ in range(2):
        x = trunk.conv(trunk.dw(x), 32)
    x = trunk.conv(trunk.dw(x, stride=2, padding=SAME), 32)
    end = trunk.mean(x)
    net = trunk.net
    taken = net.tensor("int8 map", (1, 8, 8, 64), "int8", scales=[0.02])
    weights = prune(integers(64, 1, 1, 64), 0.9, (1, 1, 1, 1))
    w = net.constant("int8 weights", weights, scales=[0.01])
    made = net.tensor("int8 result", (1, 8, 8, 64), "int8", scales=[0.3])
    options = schema.Conv2DOptionsT(strideW=1, strideH=1)
    net.operator("CONV_2D", [taken, w, -1], [made], 3, options)
    path = net.save(tmp_path / "m", [trunk.x, taken], [end, made])
    plan = next(plan for plan in plan_encoding(read(path), DIRECT) if plan.tensor == w)
    assert plan.storage == "dense"
    assert "DEPTHWISE_CONV_2D" in plan.reason


def test_float16_weights_beside_a_float32_bias_stay_dense_for_older_litert(tmp_path: Path) -> None:
    network = next(network for network in FAMILY if network.name == "half_beside_float_bias")
    path = network.save(tmp_path / "net")
    assert ways(path, EncodingRules((TFLITE_RUNTIME, LITERT))) == {"dense"}
    assert "densify" in ways(path, EncodingRules((TFLITE_RUNTIME,)))
    assert "densify" in ways(path, EncodingRules((Runtime("LiteRT", "2.3.0"),)))


@pytest.mark.parametrize("kind", ["int8", "dynamic-range"])
def test_int8_matrices_never_go_through_densify_for_litert(tmp_path: Path, kind: str) -> None:
    path = dense_net(tmp_path / "m", prune(integers(64, 256), 0.8, (1, 1)), kind)
    assert "LiteRT does not load" in reason(path)
    plans = plan_encoding(read(path), EncodingRules((TFLITE_RUNTIME,)))
    assert [plan.storage for plan in plans] == ["densify"]


def test_scales_per_channel_keep_tflite_runtime_from_sparse_kernels(tmp_path: Path) -> None:
    weights = prune(integers(64, 256), 0.8, (1, 16))
    path = dense_net(tmp_path / "m", weights, "int8", per_channel=True)
    assert "one scale per tensor" in reason(path)
    plans = plan_encoding(read(path), replace(DIRECT, runtimes=(LITERT,)))
    assert [plan.storage for plan in plans] == ["direct"]


def test_a_matrix_below_the_threshold_gets_no_sparse_kernel(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m", prune(integers(64, 256), 0.8, (1, 16)), "int8")
    assert "pays from 95%" in reason(path, replace(DIRECT, direct_int8_from=0.95))


def test_rows_of_more_than_255_blocks_are_too_long_for_float_activations(tmp_path: Path) -> None:
    weights = prune(integers(16, 4112), 0.8, (1, 16))
    assert "255 blocks" in reason(dense_net(tmp_path / "m", weights, "dynamic-range"))


def test_a_symmetric_hybrid_layer_stays_as_it_is(tmp_path: Path) -> None:
    """XNNPACK rounds its inputs asymmetrically, the sparse kernel would not: 4 % other results."""
    path = dense_net(tmp_path / "m", prune(integers(64, 256), 0.8, (1, 16)), "dynamic-range")
    draft = load(path)
    draft.model.subgraphs[0].operators[0].builtinOptions.asymmetricQuantizeInputs = False
    write(draft, path)
    assert "symmetrically" in reason(path)


def test_weights_without_enough_zeros_stay_dense(tmp_path: Path) -> None:
    assert "too few zeros" in reason(dense_net(tmp_path / "m", floats(64, 64)))


def test_weights_used_twice_share_one_densify(tmp_path: Path) -> None:
    net = Net()
    x, y, z = net.tensor("x", (1, 64)), net.tensor("y", (1, 64)), net.tensor("z", (1, 64))
    w = net.constant("w", prune(floats(64, 64), 0.9, (1, 1)))
    for source, target in ((x, y), (y, z)):
        net.operator(
            "FULLY_CONNECTED", [source, w, -1], [target], 1, schema.FullyConnectedOptionsT()
        )
    case = encode_case(net.save(tmp_path / "net", [x], [z]), EncodingRules())
    ops = [operator.op for operator in read(case.encoded).operators]
    assert ops == ["DENSIFY", "FULLY_CONNECTED", "FULLY_CONNECTED"]
    for runtime in RUNTIMES:
        dense, encoded = outputs(runtime, [case.source, case.encoded], tmp_path)
        assert np.array_equal(dense[0], encoded[0])


def test_tensors_that_share_their_bytes_stay_dense(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 64)), net.tensor("y", (1, 64))
    w = net.constant("w", prune(floats(64, 64), 0.9, (1, 1)))
    twin = net.tensor("twin", (64, 64))
    net.graph.tensors[twin].buffer = net.graph.tensors[w].buffer
    net.operator("FULLY_CONNECTED", [x, w, -1], [y], 1, schema.FullyConnectedOptionsT())
    graph = read(net.save(tmp_path / "net", [x], [y]))
    plans = plan_encoding(graph, EncodingRules())
    assert {plan.reason.split(" with ")[0] for plan in plans} == {"shares its bytes"}


def test_a_tensor_whose_bytes_are_also_metadata_stays_dense(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 64)), net.tensor("y", (1, 64))
    w = net.constant("w", prune(floats(64, 64), 0.9, (1, 1)))
    net.operator("FULLY_CONNECTED", [x, w, -1], [y], 1, schema.FullyConnectedOptionsT())
    net.model.metadata.append(schema.MetadataT(b"odd", net.graph.tensors[w].buffer))
    assert "metadata" in reason(net.save(tmp_path / "net", [x], [y]))


@pytest.mark.parametrize("runtimes", [(), (Runtime("TFLM", "0.dev20261023182759"),)])
def test_a_device_without_sparse_tensors_gets_an_equal_file(
    tmp_path: Path, runtimes: tuple[Any, ...]
) -> None:
    source = dense_net(tmp_path / "m", prune(floats(64, 256), 0.9, (1, 4)))
    encode_file(source, EncodingRules(runtimes), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == source.read_bytes()


def test_encoding_twice_changes_nothing_more(cases: Mapping[str, Case], tmp_path: Path) -> None:
    for case in cases.values():
        result = encode_file(case.encoded, DIRECT, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == case.encoded.read_bytes()
        assert "is stored sparsely already" in {plan.reason for plan in result.tensors}


def test_a_file_can_be_encoded_in_place(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m", prune(floats(64, 256), 0.9, (1, 1)))
    result = encode_file(path, EncodingRules(), path)
    assert path.stat().st_size == result.bytes_after < result.bytes_before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m", floats(8, 8))
    with pytest.raises(OutputError, match="nowhere"):
        encode_file(path, EncodingRules(), tmp_path / "nowhere" / "out.tflite")


def peak_bytes(step: str, source: Path, output: Path) -> int:
    """Returns the most memory that one step takes, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.encode_memory", str(source), str(output), step],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.linux
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "block"), [("float32", 2), ("float16", 1), ("int8", 2)])
def test_25_million_weights_take_four_times_the_memory_of_the_file(
    tmp_path: Path, kind: str, block: int
) -> None:
    source, sparse = tmp_path / "dense.tflite", tmp_path / "sparse.tflite"
    if kind == "int8":
        kernel = prune(integers(5000, 5000), 0.8, (block, 1)).reshape(5000, 1, 1, 5000)
        convolution_net(source, kernel)
    else:
        dense_net(source, prune(floats(5000, 5000), 0.8, (block, 1)), kind)
    for step, before, after in (
        ("encode", source, sparse),
        ("densify", sparse, tmp_path / "restored.tflite"),
    ):
        assert peak_bytes(step, before, after) < 4 * before.stat().st_size + (150 << 20)
    assert sparse.stat().st_size < 0.5 * source.stat().st_size
    assert (tmp_path / "restored.tflite").read_bytes() == source.read_bytes()


def test_negative_zeros_are_zeros(tmp_path: Path) -> None:
    """Masks that multiply leave -0.0 for half of what they prune; it must not be stored."""
    weights = np.where(np.arange(64 * 64).reshape(64, 64) % 16 == 0, 1.0, -0.0)
    fully_connected(tmp_path / "minus.tflite", weights)
    fully_connected(tmp_path / "plus.tflite", weights + 0.0)
    results = [
        encode_file(tmp_path / f"{name}.tflite", EncodingRules(), tmp_path / f"{name}-s.tflite")
        for name in ("minus", "plus")
    ]
    assert results[0].bytes_after == results[1].bytes_after < results[0].bytes_before / 4

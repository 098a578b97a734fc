"""Packed files in the real interpreter of TFLite Micro: outputs, arena, and what a limit does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.core.errors import CheckError, TargetError
from edgeprune.inspection.accuracy import accuracy
from edgeprune.inspection.inspect_file import inspect
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.facts import Limit
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.checks import Check
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.measuring import measure
from edgeprune.targets.packages import Package
from edgeprune.targets.tflm import TFLM, packing
from edgeprune.targets.tflm.packing import pack_file, plain_path, write_packed
from edgeprune.tflite.decode.choose import PERSISTENT_BYTES, arena_of
from edgeprune.tflite.decode.pack import pack_weights
from edgeprune.tflite.decode.weights import weights_to_pack
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from tests.support.packing import lively, mixed_net, packed, sparse_weights, twice_read
from tests.support.small_nets import chain
from tests.support.tflite_builder import dense_net

CORTEX = load_profile("cortex-m-tflm")
DECODE = CORTEX.on("decode")


def deep_net(path: Path) -> Path:
    """Layers whose unpacked weights are larger than the maps, by up to 36,864 bytes."""
    shapes = [(64, 3, 3, 16), (64, 3, 3, 64), (16, 1, 1, 64), (32, 3, 3, 16)]
    layers = [("CONV_2D", sparse_weights(shape, 0.8, i)) for i, shape in enumerate(shapes)]
    return lively(chain(path, layers, size=4))


def net_of(kind: str, path: Path) -> Path:
    match kind:
        case "read twice":
            return twice_read(path)
        case "dense":
            return dense_net(path, sparse_weights((40, 72), 0.8), "int8", per_channel=True)
        case "mixed":
            return mixed_net(path)
    return deep_net(path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixed", "deep", "read twice", "dense"])
def test_a_packed_file_computes_bit_for_bit_what_the_plain_one_does(
    kind: str, tmp_path: Path
) -> None:
    plain = net_of(kind, tmp_path / "m.tflite")
    graph = read(packed(plain, tmp_path / "p.tflite"))
    inputs = generated_inputs(graph, 20)
    before, after = TFLM.run(read(plain), inputs), TFLM.run(graph, inputs)
    assert len(np.unique(before.outputs[0])) > 10
    np.testing.assert_array_equal(after.outputs[0], before.outputs[0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixed", "deep", "read twice"])
def test_the_arena_is_what_was_foretold_to_the_byte(kind: str, tmp_path: Path) -> None:
    plain = net_of(kind, tmp_path / "m.tflite")
    graph = read(plain)
    weights = [weight for weight in weights_to_pack(graph) if not weight.refusal]
    twice = kind == "read twice"
    whole = arena_of(graph.subgraphs[0], arena_bytes(plain))
    for count in range(len(weights) + 1):
        draft = load(plain)
        pack_weights(draft, weights[:count])
        write(draft, tmp_path / "p.tflite")
        foretold = whole.bytes_with(weights[:count])
        # A weight's second reader shares the constants of the first, which is 16 bytes less.
        assert foretold - arena_bytes(tmp_path / "p.tflite") == (16 if count and twice else 0)
    assert whole.bytes_with(weights) >= whole.bytes_with([]) + PERSISTENT_BYTES


def arena_bytes(path: Path) -> int:
    graph = read(path)
    return int(TFLM.run(graph, generated_inputs(graph, 1)).facts["allocations"]["total"])


@pytest.mark.slow
def test_a_limit_of_the_arena_is_kept_and_the_rest_is_packed(tmp_path: Path) -> None:
    plain = deep_net(tmp_path / "m.tflite")
    free = pack_file(plain, tmp_path / "free.tflite")
    assert free.packs
    assert [row.storage for row in free.tensors] == ["decode"] * 4
    assert free.arena_grows > 30_000
    tight = pack_file(plain, tmp_path / "tight.tflite", free.packed_arena - 1_000)
    assert [row.storage for row in tight.tensors] == ["decode", "dense", "decode", "decode"]
    small = pack_file(plain, tmp_path / "small.tflite", free.packed_arena - 1)
    assert [row.storage for row in small.tensors].count("decode") == 3
    assert tight.packed_bytes > small.packed_bytes
    assert tight.packed_arena == arena_bytes(tmp_path / "tight.tflite") < free.packed_arena
    assert tight.exact
    assert tight.plain_bytes > tight.packed_bytes > free.packed_bytes
    none = pack_file(plain, tmp_path / "none.tflite", free.plain_arena)
    assert not none.packs
    assert (tmp_path / "none.tflite").read_bytes() == plain.read_bytes()


@pytest.mark.slow
def test_the_limit_of_the_profile_holds_where_none_is_asked_for(tmp_path: Path) -> None:
    plain, output = deep_net(tmp_path / "m.tflite"), tmp_path / "p.tflite"
    free = write_packed(plain, output, DECODE)
    limit = Limit(value=free.packed_arena - 1, source="a test")
    own = DECODE.model_copy(
        update={"limits": DECODE.limits.model_copy(update={"arena_bytes": limit})}
    )
    assert write_packed(plain, output, own).limit == free.packed_arena - 1
    assert write_packed(plain, output, own, free.packed_arena).packed_bytes == free.packed_bytes
    assert plain_path(output).read_bytes() == plain.read_bytes()


def test_without_the_interpreter_a_limit_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Package("tflm", "no-such-package", "1")
    monkeypatch.setattr(packing, "TFLM_PACKAGE", missing)
    monkeypatch.setattr("edgeprune.targets.tflm.target.TFLM_PACKAGE", missing)
    plain = deep_net(tmp_path / "m.tflite")
    with pytest.raises(TargetError, match="no-such-package"):
        pack_file(plain, tmp_path / "p.tflite", 50_000)
    done = pack_file(plain, tmp_path / "p.tflite")
    assert done.packs
    assert not done.measured
    assert done.to_json()["packed_arena_bytes"] is None
    assert "not measured" in " ".join(done.sentences(14_000))


def test_a_file_that_the_interpreter_does_not_run_is_not_packed(tmp_path: Path) -> None:
    layers = [("CONV_2D", sparse_weights((64, 3, 3, 64), 0.8)), ("GELU", np.empty(0))]
    plain = chain(tmp_path / "m.tflite", layers, size=4)
    with pytest.raises(CheckError, match="GELU"):
        write_packed(plain, tmp_path / "p.tflite", DECODE)
    assert not (tmp_path / "p.tflite").exists()
    assert not plain_path(tmp_path / "p.tflite").exists()


def exported(folder: Path) -> Path:
    output = folder / "out.tflite"
    write_packed(deep_net(folder / "m.tflite"), output, DECODE)
    return output


def by_name(checks: Any) -> dict[str, Check]:
    return {check.name.partition(" (")[0]: check for check in checks}


@pytest.mark.slow
def test_validate_compares_with_the_plain_file_and_says_who_reads_it(tmp_path: Path) -> None:
    verdict = validate(exported(tmp_path), CORTEX)
    assert verdict.ok
    checks = by_name(verdict.checks)
    assert "out.plain.tflite" in checks["packed weights"].message
    assert "cannot run the packed file" in checks["reads"].message
    assert checks["packed as plain"].value == 0
    assert "code of DECODE" in checks["flash"].message


@pytest.mark.slow
def test_validate_sees_a_plain_file_that_is_not_the_one_that_was_packed(tmp_path: Path) -> None:
    path = exported(tmp_path)
    draft = load(plain_path(path))
    weight = next(t for t in draft.graph.tensors if t.name == "w1")
    draft.model.buffers[weight.buffer].data = weight.data ^ 1
    write(draft, plain_path(path))
    found = by_name(validate(path, CORTEX).checks)["packed weights"]
    assert not found.ok
    assert "w1" in found.message


@pytest.mark.slow
def test_without_the_plain_file_the_weights_are_packed_again(tmp_path: Path) -> None:
    path = exported(tmp_path)
    plain_path(path).unlink()
    found = by_name(validate(path, CORTEX).checks)["packed weights"]
    assert found.ok
    assert "packed again" in found.message


@pytest.mark.slow
def test_a_coding_that_is_not_read_is_found_and_fails(tmp_path: Path) -> None:
    path = exported(tmp_path)
    draft = load(path)
    operator = draft.model.subgraphs[0].operators[0]
    tensor = draft.model.subgraphs[0].tensors[operator.inputs[1]]
    data = np.array(draft.model.buffers[tensor.buffer].data)
    data[0] = 127
    draft.model.buffers[tensor.buffer].data = data
    write(draft, path)
    found = by_name(validate(path, CORTEX).checks)["packed weights"]
    assert not found.ok
    assert "coding" in found.message
    rules = {finding.rule for finding in inspect(path, CORTEX).findings}
    assert {"packed", "packed-unread"} <= rules


@pytest.mark.slow
def test_a_packed_file_is_wrong_for_a_device_without_tflite_micro(tmp_path: Path) -> None:
    path = exported(tmp_path)
    found = by_name(validate(path, "arm-neon-int8").checks)
    assert not found["packed"].ok
    assert "edgeprune densify" in found["packed"].message
    assert by_name(validate(plain_path(path), "arm-neon-int8").checks).get("packed") is None


def test_inspect_shows_packed_weights_with_their_zeros(tmp_path: Path) -> None:
    path = exported(tmp_path)
    plain, found = inspect(plain_path(path), CORTEX), inspect(path, CORTEX)
    assert found.parameters == plain.parameters
    assert found.sparsity == plain.sparsity > 0.75
    assert [row.sparse for row in found.tensors] == [True] * 4
    assert sum(row.stored_bytes for row in found.tensors) < plain.parameters / 2
    kernels = {row.op: row.kernel for row in found.ops}
    assert kernels["CONV_2D"] == "dense after DECODE"
    rows = [row.sparsity for row in found.ops if row.op == "CONV_2D"]
    assert rows == [row.sparsity for row in plain.ops]
    assert [finding.rule for finding in found.findings] == ["packed"]


@pytest.mark.slow
def test_measure_counts_code_and_both_arenas_and_keeps_time_apart(tmp_path: Path) -> None:
    path = exported(tmp_path)
    packed_file, plain = measure([path, plain_path(path)], CORTEX)
    code = DECODE.packing.code_bytes.value if DECODE.packing else None
    assert packed_file.memory["code_bytes"] == code == 14_000
    assert packed_file.memory["flash_bytes"] == path.stat().st_size + 14_000
    assert packed_file.memory["plain_arena_bytes"] == plain.memory["arena_bytes"]
    assert packed_file.memory["arena_bytes"] > plain.memory["arena_bytes"]
    assert packed_file.host_time_ratio is not None
    assert packed_file.host_time_ratio > 0
    assert (packed_file.latency_ms, packed_file.speedup) == (None, None)
    assert "code_bytes" not in plain.memory
    assert plain.host_time_ratio is None


@pytest.mark.slow
def test_the_code_of_a_slim_build_is_what_the_user_says(tmp_path: Path) -> None:
    assert DECODE.packing is not None
    slim = DECODE.packing.model_copy(update={"code_bytes": Limit(value=3_200, source="my build")})
    route = DECODE.route.model_copy(update={"packing": slim})
    path = exported(tmp_path)
    (found,) = measure([path], DECODE.model_copy(update={"routes": (route,)}))
    assert found.memory["code_bytes"] == 3_200
    assert "3200 bytes of code of DECODE (my build)" in found.conditions


def test_accuracy_of_a_packed_file_is_that_of_the_plain_one(tmp_path: Path) -> None:
    from edgeprune.core.data import Data

    plain = dense_net(tmp_path / "m.tflite", sparse_weights((40, 72), 0.8), "int8")
    path = packed(plain, tmp_path / "p.tflite")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(50, 72)).astype(np.float32)
    data = Data((x,), generator.integers(0, 40, 50))
    assert accuracy(path, CORTEX, data) == accuracy(plain, CORTEX, data)


@pytest.mark.slow
def test_a_reference_may_be_packed(tmp_path: Path) -> None:
    path = exported(tmp_path)
    checks = by_name(validate(plain_path(path), CORTEX, reference=path).checks)
    assert checks["outputs"].ok

"""Reading sound files, and writing them again without a change."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.errors import TfliteError
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.tflite_builder import Net, convolution_net, dense_net, prune


def ramp(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_graph_says_what_the_file_holds(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m.tflite", ramp(4, 3))
    graph = read(path)
    assert (graph.path, graph.size_bytes) == (path, path.stat().st_size)
    assert graph.description == "made by a test"
    assert graph.metadata == {"note": b"kept as it is"}
    assert [tensor.name for tensor in graph.tensors] == ["x", "w", "b", "y"]
    assert (graph.inputs, graph.outputs) == ((0,), (3,))
    (operator,) = graph.operators
    assert (operator.op, operator.version, operator.custom) == ("FULLY_CONNECTED", 1, False)
    assert (operator.inputs, operator.outputs) == ((0, 1, 2), (3,))
    assert operator.options.keepNumDims is False
    (signature,) = graph.signatures
    assert signature.key == "serving_default"
    assert (signature.inputs, signature.outputs) == ({"x0": 0}, {"y0": 3})


def test_constants_have_values_and_computed_tensors_have_none(tmp_path: Path) -> None:
    x, w, _, _ = read(dense_net(tmp_path / "m.tflite", ramp(4, 3))).tensors
    values = w.values()
    assert values is not None
    assert np.array_equal(values, ramp(4, 3))
    assert not values.flags.writeable
    assert (w.constant, w.sparse, w.stored_bytes, w.dtype) == (True, False, 48, "float32")
    assert (x.constant, x.values(), x.shape, x.shape_signature) == (False, None, (1, 3), (1, 3))


def test_quantization_is_read(tmp_path: Path) -> None:
    weights = np.ones((6, 1, 1, 4), np.int8)
    x, w, *_ = read(convolution_net(tmp_path / "m.tflite", weights)).tensors
    assert x.scales.tolist() == pytest.approx([0.02])
    assert (w.scales.size, w.quantized_dimension, w.zero_points.tolist()) == (6, 0, [0] * 6)


def test_a_sparse_tensor_reads_like_a_dense_one(tmp_path: Path) -> None:
    weights = prune(ramp(32, 64), 0.9, (1, 1))
    source = dense_net(tmp_path / "m.tflite", weights)
    encode_file(source, EncodingRules(), tmp_path / "sparse.tflite")
    (sparse,) = [t for t in read(tmp_path / "sparse.tflite").tensors if t.sparse]
    values = sparse.values()
    assert values is not None
    assert np.array_equal(values, weights)
    assert sparse.stored_bytes < weights.nbytes / 2


@pytest.mark.parametrize(
    ("dtype", "stored", "expected"),
    [
        ("int4", [0x21, 0x8F, 0x07], [1, 2, -1, -8, 7]),
        ("uint4", [0x21, 0x8F, 0x07], [1, 2, 15, 8, 7]),
        ("int2", [0b11_10_01_00, 0b01], [0, 1, -2, -1, 1]),
        ("bool", [0, 1, 1, 0, 1], [False, True, True, False, True]),
        ("bfloat16", [0x80, 0x3F, 0, 0xC0, 0, 0, 0, 0, 0, 0], [1.0, -2.0, 0.0, 0.0, 0.0]),
    ],
)
def test_items_of_unusual_types_are_unpacked(
    tmp_path: Path, dtype: str, stored: list[int], expected: list[float]
) -> None:
    net = Net()
    net.tensor("odd", (5,), dtype, np.array(stored, np.uint8))
    values = read(net.save(tmp_path / "m.tflite", [], [])).tensors[0].values()
    assert values is not None
    assert values.tolist() == expected


def test_strings_and_unknown_types_have_no_values(tmp_path: Path) -> None:
    net = Net()
    net.tensor("words", (2,), "string", np.zeros(17, np.uint8))
    strange = net.tensor("strange", (2,), "int8", np.zeros(5, np.uint8))
    net.graph.tensors[strange].type = 99
    words, unknown = read(net.save(tmp_path / "m.tflite", [], [])).tensors
    assert (words.constant, words.values(), words.dtype) == (True, None, "string")
    assert (unknown.dtype, unknown.values()) == ("type99", None)


def test_custom_and_unknown_operators_have_names(tmp_path: Path) -> None:
    net = Net()
    x, y, z = (net.tensor(name, (1,)) for name in "xyz")
    net.operator("CUSTOM", [x], [y], custom_code=b"Mine")
    net.operator("RELU", [y], [z])
    net.model.operatorCodes[1].builtinCode = 9999
    graph = read(net.save(tmp_path / "m.tflite", [x], [z]))
    assert [(o.op, o.custom) for o in graph.operators] == [("Mine", True), ("BUILTIN_9999", False)]


def test_a_constant_is_found_behind_densify_and_dequantize(tmp_path: Path) -> None:
    source = dense_net(tmp_path / "m.tflite", prune(ramp(32, 64), 0.9, (1, 1)), "float16")
    encode_file(source, EncodingRules(), tmp_path / "sparse.tflite")
    graph = read(tmp_path / "sparse.tflite")
    (operator,) = [o for o in graph.operators if o.op == "FULLY_CONNECTED"]
    constant, passed = graph.subgraphs[0].constant_behind(operator.inputs[1])
    assert constant is not None
    assert constant.sparse
    assert passed == ("DEQUANTIZE", "DENSIFY")
    assert graph.subgraphs[0].constant_behind(operator.inputs[0]) == (None, ())


def test_writing_an_unchanged_file_gives_the_same_bytes(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m.tflite", ramp(40, 30))
    size = write(load(path), tmp_path / "again.tflite")
    assert (tmp_path / "again.tflite").read_bytes() == path.read_bytes()
    assert size == path.stat().st_size


def test_weights_start_at_multiples_of_16(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m.tflite", ramp(7, 5) + 1)
    data = path.read_bytes()
    graph = read(path)
    starts = [data.index(t.data.tobytes()) for t in graph.tensors if t.constant]
    assert len(starts) == 2
    assert {start % 16 for start in starts} == {0}


def test_an_archive_behind_the_model_moves_with_its_end(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m.tflite", prune(ramp(64, 64), 0.9, (1, 1)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
        archive.writestr("more.txt", "fish")
    for output in ("sparse.tflite", "again.tflite"):
        result = encode_file(path, EncodingRules(), tmp_path / output)
        assert result.bytes_after < result.bytes_before
        with zipfile.ZipFile(tmp_path / output) as archive:
            assert archive.testzip() is None
            assert archive.read("labels.txt") == b"cat\ndog\n"
            assert archive.infolist()[0].header_offset == result.bytes_after - len(
                load(path).appended
            )


def test_bytes_that_only_look_like_an_archive_are_none(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "m.tflite", ramp(4, 4))
    path.write_bytes(path.read_bytes() + b"PK\x05\x06" + bytes([255]) * 18)
    assert load(path).appended == b""


def test_buffers_behind_the_flatbuffer_are_read_and_taken_in(tmp_path: Path) -> None:
    """Models above 2 GB keep their weights there; `offset` counts from the start of the file."""
    net = Net()
    w = net.constant("w", ramp(8, 4))
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 8))
    net.operator("FULLY_CONNECTED", [x, w, -1], [y], 1, schema.FullyConnectedOptionsT())
    path = net.save(tmp_path / "m.tflite", [x], [y])
    draft = load(path)
    model = draft.model
    model.buffers[1] = schema.BufferT(offset=2**40, size=128)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    start = len(builder.Output())
    model.buffers[1].offset = start
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()) + ramp(8, 4).tobytes())
    assert len(builder.Output()) == start
    values = read(path).tensors[0].values()
    assert values is not None
    assert np.array_equal(values, ramp(8, 4))
    write(load(path), path)
    assert load(path).model.buffers[1].offset == 0
    values = read(path).tensors[0].values()
    assert values is not None
    assert np.array_equal(values, ramp(8, 4))


def test_options_of_a_newer_schema_are_read_over_but_not_rewritten(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1,)), net.tensor("y", (1,))
    net.operator("RELU", [x], [y], options=schema.AddOptionsT())
    net.graph.operators[0].builtinOptionsType = 127
    path = net.save(tmp_path / "m.tflite", [x], [y])
    assert read(path).operators[0].options is None
    with pytest.raises(TfliteError, match="lost when the file is written"):
        load(path)


def test_reading_imports_neither_tensorflow_nor_a_runtime() -> None:
    script = (
        "import sys, edgeprune.inspection.inspect_file\n"
        "import edgeprune.tflite.store_densely, edgeprune.tflite.store_sparsely\n"
        "heavy = {'tensorflow', 'keras', 'tflite_runtime', 'ai_edge_litert.interpreter'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr

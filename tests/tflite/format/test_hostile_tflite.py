"""Files that are damaged or made to harm: each ends in a TfliteError that names file and place."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.errors import EdgepruneError, TfliteError
from edgeprune.core.runtime import Runtime
from edgeprune.inspection.inspect_file import inspect
from edgeprune.tflite.format.draft import load
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.packed_tensor import DECODE, pack_values
from edgeprune.tflite.gate import judge
from edgeprune.tflite.storage_plan import EncodingRules, computing_uses
from edgeprune.tflite.store_densely import densify_file
from edgeprune.tflite.store_sparsely import encode_file
from tests.support import tflite_fuzz
from tests.support.gate_networks import Trunk
from tests.support.packing import mixed_net, packed
from tests.support.reading import count_bytes_of_values, count_tables
from tests.support.tflite_builder import Net, convolution_net, dense_net, prune


def sparse_model(tmp_path: Path) -> Any:
    """Returns the `ModelT` of a file with one DENSIFY and one FULLY_CONNECTED."""
    weights = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    source = dense_net(tmp_path / "dense", prune(weights, 0.8, (1, 1)))
    encode_file(source, EncodingRules(), tmp_path / "sparse")
    return load(tmp_path / "sparse").model


def packed_plainly(model: Any) -> bytes:
    """Packs without our own packer, which wants lists."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def refuse(path: Path, words: str) -> None:
    for action in (read, load, inspect):
        with pytest.raises(TfliteError, match=words) as raised:
            action(path)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "identifier TFL3"),
        (b"TFL3", "identifier TFL3"),
        (bytes(range(256)), "identifier TFL3"),
        (b"\x08\x00\x00\x00TFL3", "offset below"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "offset below"),
        (b"\x08\x00\x00\x00TFL3\xff\xff\xff\x7f" + bytes(64), "vtable inside"),
        (b"\x0c\x00\x00\x00TFL3\x03\x00\x08\x00\x04\x00\x00\x00", "even vtable size"),
        (b"\x10\x00\x00\x00TFL3\x06\x00\x00\x01\x04\x00\x00\x00\x08\x00\x00\x00", "ends inside"),
        (b"\x10\x00\x00\x00TFL3\x06\x00\x08\x00\x09\x00\x00\x00\x08\x00\x00\x00", "fields inside"),
    ],
)
def test_bytes_that_are_no_model_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(content + bytes(8) if len(content) > 12 else content)
    refuse(path, words)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    refuse(tmp_path / "absent.tflite", "Received: no such file. Check the path")
    refuse(tmp_path, "Received: a folder")


def test_a_file_of_another_kind_is_called_by_its_name(tmp_path: Path) -> None:
    for content, words in (
        (b"", "Received: an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"\x1f\x8b\x08\x00 packed by gzip", "gunzip unpacks it"),
        (b"PK\x03\x04" + bytes(30), "a zip archive, as .keras"),
    ):
        path = tmp_path / "other.tflite"
        path.write_bytes(content)
        refuse(path, words)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = dense_net(tmp_path / "m", np.ones((4, 4), np.float32)).read_bytes()
    path = tmp_path / "cut.tflite"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(TfliteError):
            read(path)


Edit = Callable[[Any], None]


def assign(*path: str | int, value: Any) -> Edit:
    def edit(model: Any) -> None:
        target = model
        for step in path[:-1]:
            target = target[step] if isinstance(step, int) else getattr(target, step)
        last = path[-1]
        if isinstance(last, int):
            target[last] = value
        else:
            setattr(target, last, value)

    return edit


def indices(*values: int) -> Any:
    return np.array(values, np.int32)


GRAPH = ("subgraphs", 0)
FIRST_OP = (*GRAPH, "operators", 0)
SPARSE = (*GRAPH, "tensors", 4)
LEVELS = (*SPARSE, "sparsity", "dimMetadata")
LONGEST = 2**31 - 1
DAMAGES: Mapping[str, tuple[Edit, str]] = {
    "negative length": (assign(*SPARSE, "shape", value=indices(-32, -64)), "lengths of 0 or more"),
    "other rows": (assign(*SPARSE, "shape", value=indices(31, 64)), "level 0: expected size 31"),
    "fewer columns": (assign(*SPARSE, "shape", value=indices(32, 9)), "expected indices below 9"),
    "shape of no size": (assign(*SPARSE, "shape", value=indices(0, 64)), "level 0: expected"),
    "shape beyond 64 bits": (
        assign(*SPARSE, "shape", value=indices(LONGEST, LONGEST, LONGEST)),
        "permutation of 3 axes",
    ),
    "dense shape beyond 64 bits": (
        assign(*GRAPH, "tensors", 2, "shape", value=indices(LONGEST, LONGEST, LONGEST)),
        "expected 39614081",
    ),
    "buffer index": (assign(*GRAPH, "tensors", 0, "buffer", value=99), "index below"),
    "operator input": (assign(*FIRST_OP, "inputs", value=indices(77)), "index below 5"),
    "operator output": (assign(*FIRST_OP, "outputs", value=indices(-2)), "index below 5"),
    "operator intermediate": (assign(*FIRST_OP, "intermediates", value=indices(9)), "index below"),
    "operator code": (assign(*FIRST_OP, "opcodeIndex", value=5), "index below 2"),
    "graph input": (assign(*GRAPH, "inputs", value=indices(-1)), "index below"),
    "graph output": (assign(*GRAPH, "outputs", value=indices(5)), "index below"),
    "signature subgraph": (assign("signatureDefs", 0, "subgraphIndex", value=1), "index below 1"),
    "signature tensor": (
        assign("signatureDefs", 0, "inputs", 0, "tensorIndex", value=2**32 - 1),
        "index below",
    ),
    "metadata buffer": (assign("metadata", 0, "buffer", value=50), "index below"),
    "no subgraphs": (assign("subgraphs", value=[]), "at least one"),
    "sparse complex numbers": (
        assign(*SPARSE, "type", value=schema.TensorType.COMPLEX64),
        "whole values",
    ),
    "level of an unknown kind": (assign(*LEVELS, 0, "format", value=7), "dense or CSR level"),
    "segments of no type": (assign(*LEVELS, 1, "arraySegments", value=None), "33 segments"),
    "levels left out": (assign(*LEVELS, value=None), "expected 2, one"),
    "operators in the wrong order": (
        lambda model: model.subgraphs[0].operators.reverse(),
        "inputs computed before",
    ),
    "a tensor that two operators compute": (
        lambda model: model.subgraphs[0].operators.append(model.subgraphs[0].operators[0]),
        r"operator 2 \(DENSIFY\): expected outputs that nothing else gives values, such as tensor 1"
        ". Received: one that is also computed by operator 0",
    ),
    "a tensor that is computed and an input": (
        assign(*GRAPH, "inputs", value=indices(0, 1)),
        "also an input of the model",
    ),
    "a tensor that is computed and a constant": (
        assign(*GRAPH, "operators", 0, "outputs", value=indices(2)),
        "such as tensor 2. Received: one that is also a constant in the file",
    ),
    "a variable with data": (
        assign(*SPARSE, "isVariable", value=True),
        "expected a variable without data",
    ),
    "a bias with data that is a variable": (
        assign(*GRAPH, "tensors", 2, "isVariable", value=True),
        "expected a variable without data",
    ),
    "operator that reads its own output": (
        assign(*GRAPH, "operators", 1, "inputs", value=indices(3, 1, 2)),
        "inputs computed before",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_tables_that_contradict_each_other_are_refused(tmp_path: Path, name: str) -> None:
    edit, words = DAMAGES[name]
    model = sparse_model(tmp_path)
    edit(model)
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, words)


def test_a_sparse_tensor_that_describes_gigabytes_is_refused(tmp_path: Path) -> None:
    """60000 x 60000 zeros take 240 kB sparse and 14 GB dense."""
    model = sparse_model(tmp_path)
    tensor = model.subgraphs[0].tensors[4]
    tensor.shape = model.subgraphs[0].tensors[1].shape = indices(60000, 60000)
    model.subgraphs[0].tensors[0].shape = indices(1, 60000)
    tensor.sparsity.dimMetadata[0].denseSize = 60000
    rows = np.ones(60001, np.int32)
    rows[0] = 0
    tensor.sparsity.dimMetadata[1].arraySegmentsType = schema.SparseIndexVector.Int32Vector
    tensor.sparsity.dimMetadata[1].arraySegments = schema.Int32VectorT(rows)
    tensor.sparsity.dimMetadata[1].arrayIndices.values = np.zeros(1, np.uint8)
    model.buffers[1].data = np.ones(4, np.uint8)
    path = tmp_path / "bomb.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, "bytes when dense")


@pytest.mark.parametrize(
    ("inside", "size"), [(np.ones(64, np.uint8), 64), (np.ones(64, np.uint8), 0), ([], 64)]
)
def test_data_both_inside_and_at_an_offset_is_refused(
    tmp_path: Path, inside: Any, size: int
) -> None:
    """Runtimes take what is inside, also where the offset leads to other bytes or to none."""
    model = sparse_model(tmp_path)
    model.buffers[1] = schema.BufferT(inside, 64, size)
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, "buffer 1: expected data inside the model or at an offset, not both")


def test_custom_options_both_inside_and_at_an_offset_are_refused(tmp_path: Path) -> None:
    model = sparse_model(tmp_path)
    operator = model.subgraphs[0].operators[1]
    operator.customOptions = np.ones(8, np.uint8)
    operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = 64, 8
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    with pytest.raises(TfliteError, match="subgraph 0, operator 1: expected data inside"):
        load(path)


def test_no_variable_gets_data_when_it_was_behind_a_densify(tmp_path: Path) -> None:
    model = sparse_model(tmp_path)
    model.subgraphs[0].tensors[1].isVariable = True
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    with pytest.raises(TfliteError, match=r"DENSIFY of 'w/sparse'.* the variable 'w'"):
        densify_file(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [0, 1])
def test_data_outside_the_file_is_refused(tmp_path: Path, place: int) -> None:
    """`densify` gave the tensor behind a DENSIFY data of its own; LiteRT then refused the file."""
    model = sparse_model(tmp_path)
    model.subgraphs[0].tensors[place].externalBuffer = 7
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, f"tensor {place} .*: expected data inside the file. Received: external buffer 7")


def padded_net(
    path: Path,
    made: tuple[int, ...],
    *,
    op: str = "PAD",
    signature: tuple[int, ...] = (1, 8, 8, 3),
    amounts: Any = np.int32,
) -> Path:
    """Zeros around a map of 8x8: two before and one behind on both axes."""
    net = Net()
    x = net.tensor("x", (1, 8, 8, 3))
    rows = net.constant("amounts", np.array([[0, 0], [2, 1], [2, 1], [0, 0]], amounts))
    y = net.tensor("y", made)
    inputs = (
        [x, rows, net.constant("fill", np.zeros(1, np.float32))] if op == "PADV2" else [x, rows]
    )
    net.operator(op, inputs, [y])
    net.graph.tensors[x].shapeSignature = indices(*signature)
    return net.save(path, [x], [y])


@pytest.mark.parametrize("op", ["PAD", "PADV2", "MIRROR_PAD"])
@pytest.mark.parametrize("made", [(1, 10, 11, 3), (1, 11, 12, 3), (2, 11, 11, 3), (11, 11, 3)])
def test_a_pad_that_contradicts_its_declared_shape_is_refused(
    tmp_path: Path, op: str, made: tuple[int, ...]
) -> None:
    """Runtimes pad as the constant says; a rewrite that trusts the shape computes another model."""
    path = padded_net(tmp_path / "m.tflite", made, op=op)
    expected = r"expected an output 'y' of \[1, 11, 11, 3\], as computed from 'x'. Received: "
    refuse(path, expected + re.escape(str(list(made))))


@pytest.mark.parametrize("amounts", [np.int32, np.int64])
def test_a_pad_is_compared_on_fixed_axes_only(tmp_path: Path, amounts: Any) -> None:
    path = padded_net(tmp_path / "sound", (1, 11, 11, 3), amounts=amounts)
    assert read(path).operators[0].op == "PAD"
    path = padded_net(tmp_path / "open", (1, 1, 11, 3), signature=(-1, -1, 8, 3), amounts=amounts)
    assert read(path).operators[0].op == "PAD"
    refuse(padded_net(tmp_path / "bad", (1, 1, 1, 3), signature=(-1, -1, 8, 3)), "Received")


def test_a_constant_restored_to_another_shape_is_refused(tmp_path: Path) -> None:
    """A bias of 24 halves was declared with 25 floats; LiteRT read what lay behind it."""
    model = load(dense_net(tmp_path / "halves", np.eye(24, dtype=np.float32), "float16")).model
    bias = next(t for t in model.subgraphs[0].tensors if t.name == b"b32")
    bias.shape = indices(25)
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, r"expected an output 'b32' of \[24\], as computed from 'b'. Received: \[25\]")


@pytest.mark.parametrize(
    ("outputs", "words"), [((), "an output or more"), ((-1,), "an output or more")]
)
def test_an_operator_without_outputs_is_refused(
    tmp_path: Path, outputs: tuple[int, ...], words: str
) -> None:
    """`inspect` looked for the shape of the first output of every convolution."""
    model = sparse_model(tmp_path)
    model.subgraphs[0].operators[-1].outputs = indices(*outputs)
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, words)


def test_a_densify_into_another_shape_is_refused(tmp_path: Path) -> None:
    model = sparse_model(tmp_path)
    model.subgraphs[0].tensors[1].shape = indices(64, 32)
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, r"expected an output 'w' of \[32, 64\], .*Received: \[64, 32\]")


def test_a_sparse_output_is_refused(tmp_path: Path) -> None:
    """LiteRT hands out the values that are stored, as many as there are; `densify` made others."""
    model = sparse_model(tmp_path)
    model.subgraphs[0].outputs = indices(4)
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, "outputs: expected dense tensors. Received: 'w/sparse', which is sparse")


@pytest.mark.parametrize("shape", [(1,), (1, 63), (3, 65), ()])
def test_a_dense_layer_whose_input_does_not_fill_rows_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    """The kernel for sparse weights reads behind such an input; the one for dense ones refuses."""
    model = sparse_model(tmp_path)
    model.subgraphs[0].tensors[0].shape = indices(*shape)
    path = tmp_path / "bad.tflite"
    path.write_bytes(packed_plainly(model))
    refuse(path, r"expected an input 'x' of a multiple of 64 values")


def test_a_dense_layer_takes_an_input_of_rows_and_open_lengths(tmp_path: Path) -> None:
    path = tmp_path / "good.tflite"
    for shape, signature in [((2, 32), (2, 32)), ((1, 2, 3), (1, -1, -1))]:
        model = sparse_model(tmp_path)
        model.subgraphs[0].tensors[0].shape = indices(*shape)
        model.subgraphs[0].tensors[0].shapeSignature = indices(*signature)
        path.write_bytes(packed_plainly(model))
        assert read(path).tensors[0].shape == shape


def tables_that_are_one(path: Path, count: int, *, nested: int = 1) -> Path:
    """Writes `nested` references to a subgraph with `count` references to a single tensor."""
    builder = flatbuffers.Builder()
    tensor = schema.TensorT(shape=indices(1, 2), name=b"x" * 64).Pack(builder)

    def repeat(offset: int, times: int) -> int:
        builder.StartVector(4, times, 4)
        for _ in range(times):
            builder.PrependUOffsetTRelative(offset)
        end: int = builder.EndVector()
        return end

    tensors = repeat(tensor, count)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraphs = repeat(schema.SubGraphEnd(builder), nested)
    buffers = repeat(schema.BufferT().Pack(builder), 1)
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.mark.parametrize(("count", "nested"), [(20_000, 1), (300, 300), (1, 20_000)])
def test_few_bytes_cannot_describe_many_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, nested: int
) -> None:
    """A reader gives up once it has met a table for every sixteen bytes, and one more."""
    path = tables_that_are_one(tmp_path / "bomb.tflite", count, nested=nested)
    tables = count_tables(monkeypatch)
    with pytest.raises(TfliteError):
        read(path)
    assert 0 < len(tables) <= path.stat().st_size // 16 + 1 < count * nested
    refuse(path, "tables than the file has room|referred to many times")


def many_decodes(path: Path, count: int, scale: Callable[[int], float]) -> Path:
    """Unpacks one pair of constants, of a million values, into so many tensors."""
    net = Net()
    packed = pack_values(np.zeros((1000, 1000), np.int8), np.zeros(1, np.int64))
    pair = [net.constant("mask", packed.mask), net.constant("rest", packed.ancillary)]
    made = [net.tensor(f"w{i}", (1000, 1000), "int8", scales=[scale(i)]) for i in range(count)]
    net.operator("CUSTOM", pair * count, made, 1, custom_code=DECODE.encode())
    return net.save(path, [], [])


def test_a_pair_of_constants_that_is_unpacked_many_times_is_read_once(tmp_path: Path) -> None:
    """Counting zeros and writing values for each of 2,000 would read and write 2 GB."""
    path = many_decodes(tmp_path / "m.tflite", 2000, lambda _: 0.5)
    assert len(inspect(path).tensors) == 2000
    densify_file(path, tmp_path / "dense.tflite")
    assert (tmp_path / "dense.tflite").stat().st_size < 2_000_000


def test_packed_tensors_may_not_describe_many_times_what_a_file_holds(tmp_path: Path) -> None:
    path = many_decodes(tmp_path / "m.tflite", 500, lambda i: 0.5 + i)
    refuse(path, "expected at most 134217728 bytes when dense. Received: 500000000")


def test_metadata_entries_that_name_one_buffer_share_its_bytes(tmp_path: Path) -> None:
    """A copy for each of 6,000 entries of 4 MB would take 24 GB."""
    net = Net()
    net.metadata("first", bytes(4096))
    net.model.metadata += [schema.MetadataT(b"m%d" % i, 1) for i in range(6000)]
    values = read(net.save(tmp_path / "m.tflite", [], [])).metadata.values()
    assert len(values) == 6001
    assert len({id(value) for value in values}) == 1


@pytest.mark.parametrize("count", [3, 20])
def test_buffers_that_share_a_region_may_not_describe_many_times_the_file(
    tmp_path: Path, count: int
) -> None:
    """Each would be written by itself: 1,800 of 1 MB made 1.8 GB."""
    net = Net()
    net.model.buffers += [schema.BufferT(offset=1 << 40, size=8192) for _ in range(count)]
    data = packed_plainly(net.model)
    path = tmp_path / "m.tflite"
    net.model.buffers[1:] = [schema.BufferT(offset=len(data), size=8192) for _ in range(count)]
    path.write_bytes(packed_plainly(net.model) + bytes(8192))
    if count == 3:
        assert len(load(path).model.buffers) == 4
    else:
        refuse(path, "expected data stored once")


def test_a_dequantize_that_reads_one_tensor_many_times_is_followed_once(tmp_path: Path) -> None:
    """Its 300 inputs times 300 readers were 90,000 uses of the weights."""
    net = Net()
    x = net.tensor("x", (1, 64))
    w = net.constant("w", prune(np.ones((64, 64), np.float16), 0.9, (1, 1)))
    restored = net.tensor("restored", (64, 64))
    net.operator("DEQUANTIZE", [w] * 300, [restored], 3)
    made = [net.tensor(f"y{i}", (1, 64)) for i in range(300)]
    for y in made:
        net.operator("FULLY_CONNECTED", [x, restored, -1], [y], 1)
    graph = read(net.save(tmp_path / "m.tflite", [x], made))
    assert len(computing_uses(graph.subgraphs[0], graph.tensors[w])) == 300


def test_weights_that_many_convolutions_share_have_their_zeros_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = Trunk()
    x = trunk.conv(trunk.stem(), 16)
    weights = [int(i) for i in trunk.net.graph.operators[-1].inputs[1:]]
    for _ in range(50):
        made = trunk.value(trunk.shapes[x])
        options = schema.Conv2DOptionsT(strideW=1, strideH=1, padding=1)
        trunk.net.operator("CONV_2D", [x, *weights], [made], 1, options)
        x = made
    graph = read(trunk.save(tmp_path / "m", trunk.mean(x)))
    values = count_bytes_of_values(monkeypatch)
    assert judge(graph, Runtime("LiteRT", "2.1.6")).parameters == 51 * 16 * 16
    assert sum(size == 4 * 16 * 16 for size in values) == 1


def test_a_tensor_of_more_axes_than_anything_computes_with_is_refused(tmp_path: Path) -> None:
    net = Net()
    net.tensor("x", [2**31 - 1] * 100_000)
    refuse(net.save(tmp_path / "m.tflite", [], []), "expected at most 32 axes. Received: 100000")


def test_many_tensors_that_share_a_buffer_have_their_zeros_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting zeros once per tensor would read 2 GB here."""
    net = Net()
    w = net.constant("w", np.zeros((1000, 1000), np.int8))
    for i in range(2000):
        twin = net.tensor(f"twin {i}", (1000, 1000), "int8")
        net.graph.tensors[twin].buffer = net.graph.tensors[w].buffer
    path = net.save(tmp_path / "m.tflite", [], [])
    values = count_bytes_of_values(monkeypatch)
    assert inspect(path).sparsity == 1.0
    assert sum(values) == 2 * 1_000_000


@pytest.mark.parametrize(
    ("op", "inputs", "needed"),
    [
        ("DENSIFY", [], 1),
        ("DEQUANTIZE", [-1], 1),
        ("CONV_2D", [-1, 0, -1], 2),
        ("FULLY_CONNECTED", [0], 2),
        ("FULLY_CONNECTED", [0, -1, 0], 2),
        ("DIV", [0], 2),
        ("TRANSPOSE_CONV", [0, 0], 3),
        ("RELU", [], 1),
    ],
)
def test_an_operator_without_the_inputs_that_it_needs_is_refused(
    tmp_path: Path, op: str, inputs: list[int], needed: int
) -> None:
    net = Net()
    net.constant("w", np.ones((4, 4), np.float32))
    net.operator(op, inputs, [net.tensor("y", (4, 4))], 8)
    path = net.save(tmp_path / "m.tflite", [], [])
    refuse(path, rf"operator 0 \({op}\): expected {needed} or more inputs, the first {needed}")


def test_operators_that_need_no_inputs_may_have_none(tmp_path: Path) -> None:
    net = Net()
    for op in ("VAR_HANDLE", "CALL_ONCE", "HASHTABLE", "CUSTOM"):
        net.operator(op, [], [net.tensor(op, (1,), "resource")], 1, custom_code=b"Mine")
    path = net.save(tmp_path / "m.tflite", [], [])
    assert len(inspect(path).ops) == 4


def test_a_subgraph_without_tensors_is_let_be(tmp_path: Path) -> None:
    """Found by the fuzzer (split_concat.tflite, seed 110143): the edit met None for a list."""
    net = Net()
    net.graph.tensors = net.graph.operators = net.graph.inputs = net.graph.outputs = None
    net.model.operatorCodes = None
    path = tmp_path / "empty.tflite"
    path.write_bytes(packed_plainly(net.model))
    assert inspect(path).ops == ()
    encode_file(path, tflite_fuzz.RULES, tmp_path / "out")
    densify_file(path, tmp_path / "out")


def fuzz_models(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    floats = rng.standard_normal((24, 64)).astype(np.float32)
    integers = rng.integers(-127, 128, (24, 64)).astype(np.int8)
    kernel = rng.integers(-127, 128, (32, 1, 1, 48)).astype(np.int8)
    dense = [
        dense_net(folder / "float", prune(floats, 0.8, (1, 4))),
        dense_net(folder / "float16", prune(floats, 0.9, (1, 1)), "float16"),
        dense_net(folder / "int8", prune(integers, 0.8, (1, 16)), "int8", per_channel=True),
        convolution_net(folder / "conv", prune(kernel, 0.9, (2, 1, 1, 1))),
    ]
    encoded = [path.with_suffix(".encoded") for path in dense]
    for source, output in zip(dense, encoded, strict=True):
        encode_file(source, tflite_fuzz.RULES, output)
    return [*dense, *encoded, packed(mixed_net(folder / "mixed.tflite"), folder / "packed.tflite")]


def fuzz(folder: Path, first: int, count: int) -> str:
    models = fuzz_models(folder)
    program = [
        sys.executable,
        "-m",
        "tests.support.tflite_fuzz",
        str(folder),
        str(first),
        str(count),
    ]
    done = subprocess.run(
        [*program, *map(str, models)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return f"exit {done.returncode}: {done.stdout}{done.stderr[-2000:]}"


def test_damaged_files_end_in_a_result_or_an_error_of_ours(tmp_path: Path) -> None:
    report = fuzz(tmp_path, first=0, count=400)
    assert report.startswith("exit 0: accepted "), report


@pytest.mark.slow
def test_many_more_damaged_files_end_well(tmp_path: Path) -> None:
    report = fuzz(tmp_path, first=1_000_000, count=3_000)
    assert report.startswith("exit 0: accepted "), report


def test_the_fuzzer_notices_what_it_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(EdgepruneError, match="TFL3"):
        read(path)
    assert tflite_fuzz.use(path, tmp_path / "out") == []
    whole = dense_net(path, np.ones((4, 4), np.float32)).read_bytes()
    assert len(tflite_fuzz.use(path, tmp_path / "out")) == 5
    assert struct.unpack_from("<4s", whole, 4) == (b"TFL3",)
    assert tflite_fuzz.damage(whole, 5) == tflite_fuzz.damage(whole, 5) != whole

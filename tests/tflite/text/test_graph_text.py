"""The text of a graph: what stands in it, and what does not change it."""

from __future__ import annotations

import difflib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.runtime import Runtime
from edgeprune.tflite.format import draft
from edgeprune.tflite.format.file import read
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_densely import densify_file
from edgeprune.tflite.store_sparsely import encode_file
from edgeprune.tflite.text.graph_text import graph_text
from tests.support.packing import packed, twice_read
from tests.support.several_subgraphs import add_subgraph, branching, ends
from tests.support.tflite_builder import Net, dense_net, prune


def lines(path: Path) -> list[str]:
    return list(graph_text(read(path)))


def without_digests(path: Path) -> str:
    return "\n".join(re.sub(r"#[0-9a-f]{8}", "#", line) for line in lines(path))


def digests(path: Path) -> list[str]:
    return re.findall(r"#[0-9a-f]{8}", "\n".join(lines(path)))


def changed(before: Path, after: Path) -> list[str]:
    found = difflib.ndiff(lines(before), lines(after))
    return [re.sub(r"#[0-9a-f]{8}", "#", line) for line in found if line[0] in "+-"]


def layer(tmp_path: Path, sparsity: float = 0.75, kind: str = "float32") -> Path:
    values = np.arange(1, 257).reshape(8, 32) % 100 + 1
    weights = prune(values.astype(np.float32), sparsity, (1, 1))
    return dense_net(tmp_path / f"{kind}.tflite", weights, kind, per_channel=kind == "int8")


def test_a_float_layer_is_one_line_with_its_options_shapes_and_values(tmp_path: Path) -> None:
    assert (
        without_digests(layer(tmp_path, 0.0))
        == """description "made by a test"
metadata note: 13 bytes #
signature serving_default of main: (x0=x) -> (y0=y)

subgraph main
  inputs x <float32[1,32]>
  outputs y
  y <float32[1,8]> = FULLY_CONNECTED (x, w <float32[8,32], #>, """
        + "b <float32[8], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0]>)"
    )


def test_quantized_tensors_have_scales_axis_and_zero_points(tmp_path: Path) -> None:
    assert lines(layer(tmp_path, kind="int8"))[-3:] == [
        "  inputs x <int8[1,32], scale 0.02>",
        "  outputs y",
        "  y <int8[1,8], scale 0.5> = FULLY_CONNECTED v4 (x, "
        "w <int8[8,32], scales [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01] along axis 0, "
        f"69.5 % zeros, #c0498baf>, b <int32[8], scales [{', '.join(['0.0002'] * 8)}] along axis "
        "0, [0, 1, 2, 3, 4, 5, 6, 0]>)",
    ]


def test_storing_weights_sparsely_changes_how_they_are_stored_and_not_their_digest(
    tmp_path: Path,
) -> None:
    source, sparse, dense = layer(tmp_path), tmp_path / "sparse", tmp_path / "dense"
    encode_file(source, EncodingRules((Runtime("LiteRT", "2.1.6"),)), sparse)
    bias = "b <float32[8], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0]>"
    zeros = "<float32[8,32], 69.5 % zeros, #>"
    stored = "<float32[8,32], sparse by axes 0,1, 69.5 % zeros, #>"
    assert changed(source, sparse) == [
        f"+   w <float32[8,32]> = DENSIFY (w/sparse {stored})",
        f"-   y <float32[1,8]> = FULLY_CONNECTED (x, w {zeros}, {bias})",
        f"+   y <float32[1,8]> = FULLY_CONNECTED (x, w, {bias})",
    ]
    assert digests(sparse) == digests(source)
    densify_file(sparse, dense)
    assert changed(source, dense) == []


def test_packed_weights_say_so_and_keep_their_digest(tmp_path: Path) -> None:
    source = twice_read(tmp_path / "source")
    found = "\n".join(lines(packed(source, tmp_path / "packed")))
    (digest,) = digests(source)
    said = f"<int8[64,64], scale 0.01, zero point 5, packed in 1347 bytes, 80.0 % zeros, {digest}>"
    assert f"  w {said} = custom TFLM_DECODE (" in found
    assert f'  ""#3 {said} = custom TFLM_DECODE ("", ""#2)' in found


def test_names_that_steer_a_terminal_or_repeat_are_told_apart_in_plain_ascii(
    tmp_path: Path,
) -> None:
    net = Net()
    tensors = [
        net.tensor(name, (1,)) for name in ("\x1b[31mred\n", "a b", "", "", "x" * 999, "x#2")
    ]
    for source, made in itertools.pairwise(tensors):
        net.operator("RELU", [source], [made])
    net.model.description = "ends\u202e".encode()
    path = net.save(tmp_path / "net", tensors[:1], tensors[-1:])
    text = without_digests(path)
    assert text.isascii()
    assert set(text) & set(map(chr, range(32))) == {"\n"}
    assert r'inputs "\u001b[31mred\n" <float32[1]>' in text
    assert '  ""#2 <float32[1]> = RELU ("")' in text
    assert f'"{"x" * 160}"...# <float32[1]> = RELU (""#2)' in text
    assert r'description "ends\u202e"' in text
    assert '"x#2" <float32[1]> = RELU' in text


def test_every_subgraph_is_shown_and_operators_name_those_that_they_run(tmp_path: Path) -> None:
    text = without_digests(branching(tmp_path / "net", control_flow=True))
    assert re.findall(r"^(?:signature|subgraph) .*", text, re.MULTILINE) == [
        "signature classify of main: (image=x, flag=flag) -> (scores=chosen)",
        "signature embed of embed: (image=x) -> (vector=embed/y1)",
        "signature also_classify of main: (image=x, flag=flag) -> (scores=chosen)",
        "subgraph main",
        "subgraph embed",
        "subgraph doubles",
        "subgraph keeps",
    ]
    chosen = "chosen <float32[1,16]> = IF {then_subgraph_index=doubles, else_subgraph_index=keeps}"
    assert f"  {chosen} (flag, main/y1)" in text.splitlines()
    assert "  given <float32[1,16]> = MUL (taken, two <float32[1], [2.0]>)" in text.splitlines()


def test_subgraphs_with_one_name_have_their_place_behind_it(tmp_path: Path) -> None:
    net = Net()
    x, y = net.tensor("x", (1,)), net.tensor("y", (1,))
    net.operator(
        "WHILE", [x], [y], options=schema.WhileOptionsT(condSubgraphIndex=1, bodySubgraphIndex=7)
    )
    main = net.graph
    add_subgraph(net, "main")
    ends(net.graph, [], [])
    net.graph = main
    text = lines(net.save(tmp_path / "net", [x], [y]))
    assert [line for line in text if line.startswith("subgraph")] == [
        "subgraph main@0",
        "subgraph main@1",
    ]
    assert "cond_subgraph_index=main@1, body_subgraph_index=missing subgraph 7" in text[6]


def test_options_are_named_and_defaults_left_out(tmp_path: Path) -> None:
    net = Net()
    x, y, z = (net.tensor(name, (1, 4, 4, 1)) for name in "xyz")
    cast = schema.CastOptionsT(inDataType=0, outDataType=schema.TensorType.INT8)
    net.operator("CAST", [x], [y], options=cast)
    squeeze = schema.SqueezeOptionsT(squeezeDims=np.arange(1, 10, dtype=np.int32))
    net.operator("SQUEEZE", [y], [z], options=squeeze)
    text = without_digests(net.save(tmp_path / "net", [x], [z]))
    assert "CAST {out_data_type=int8} (x)" in text
    assert "SQUEEZE {squeeze_dims=[9 from 1 to 9 #]} (y)" in text


def test_a_custom_operators_own_options_have_a_digest(tmp_path: Path) -> None:
    texts = []
    for number, content in enumerate((b"abc", b"abd")):
        net = Net()
        x, y = net.tensor("x", (1,)), net.tensor("y", (1,))
        net.operator("CUSTOM", [x], [y], custom_code=b"Mine")
        net.graph.operators[0].customOptions = np.frombuffer(content, np.uint8)
        texts.append(lines(net.save(tmp_path / str(number), [x], [y]))[-1])
    assert texts[0] == "  y <float32[1]> = custom Mine {custom_options=3 bytes #ba7816bf} (x)"
    assert texts[0] != texts[1]


def test_the_order_of_tensors_and_buffers_in_the_file_is_not_in_the_text(tmp_path: Path) -> None:
    source = layer(tmp_path)
    opened = draft.load(source)
    model = opened.model
    model.buffers.insert(1, schema.BufferT(data=np.zeros(32, np.uint8)))
    for holder in [*model.subgraphs[0].tensors, *model.metadata]:
        holder.buffer += holder.buffer > 0
    main = model.subgraphs[0]
    count = len(main.tensors)
    main.tensors.reverse()
    for owner in (main, *main.operators):
        owner.inputs, owner.outputs = (
            count - 1 - np.array(v) for v in (owner.inputs, owner.outputs)
        )
    for entry in [*model.signatureDefs[0].inputs, *model.signatureDefs[0].outputs]:
        entry.tensorIndex = count - 1 - entry.tensorIndex
    draft.write(opened, tmp_path / "other")
    assert (tmp_path / "other").read_bytes() != source.read_bytes()
    assert lines(tmp_path / "other") == lines(source)


def test_one_changed_weight_changes_the_lines_that_show_it(tmp_path: Path) -> None:
    source = layer(tmp_path)
    opened = draft.load(source)
    opened.model.buffers[1].data = opened.model.buffers[1].data.copy()
    opened.model.buffers[1].data[-1] ^= 1
    draft.write(opened, tmp_path / "other")
    assert lines(tmp_path / "other")[:-1] == lines(source)[:-1]
    assert lines(tmp_path / "other")[-1] != lines(source)[-1]


def test_inspect_prints_the_text_and_nothing_else(tmp_path: Path) -> None:
    source = layer(tmp_path)
    done = CliRunner().invoke(cli, ["inspect", "--text", str(source)])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "\n".join(lines(source)) + "\n", "")


@pytest.mark.parametrize(
    "other", [("--json",), ("--device", "edge-tpu"), ("--device", "edge-tpu", "--route", "x")]
)
def test_the_text_beside_another_kind_of_answer_is_refused(
    tmp_path: Path, other: tuple[str, ...]
) -> None:
    done = CliRunner().invoke(cli, ["inspect", "--text", str(layer(tmp_path)), *other])
    assert done.exit_code == 2
    assert f"--text prints the graph of the file alone. Received: {other[0]}" in done.output

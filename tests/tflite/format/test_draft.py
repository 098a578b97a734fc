"""Edits of a file: what is not edited comes out as it went in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.class_names import read_class_names
from edgeprune.tflite.format.draft import load, reread, write, write_or_copy
from edgeprune.tflite.format.draft_indices import drop_tensors, drop_unused_buffers
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.signature import input_ports, output_ports
from edgeprune.tflite.slim import Slimming, slim
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_densely import densify_file
from edgeprune.tflite.store_sparsely import encode_file
from edgeprune.tflite.text.graph_text import graph_text
from tests.support.several_subgraphs import LABELS, branching, signature
from tests.support.tflite_builder import Net

DIRECT = EncodingRules((Runtime("LiteRT", "2.1.6"),), direct_float32_from=0.5)


def lines(path: Path) -> list[str]:
    return list(graph_text(read(path)))


@pytest.mark.parametrize("control_flow", [False, True])
def test_storing_weights_sparsely_and_densely_again_gives_the_same_file(
    tmp_path: Path, control_flow: bool
) -> None:
    """Only weights that are the main subgraph's alone become sparse."""
    source = branching(tmp_path / "source", sparsity=0.9, control_flow=control_flow)
    encode_file(source, DIRECT, tmp_path / "sparse")
    changed = [line for line in lines(tmp_path / "sparse") if line not in lines(source)]
    assert len(changed) == 1
    assert "main/w1 <float32[16,48], sparse by axes 0,1" in changed[0]
    densify_file(tmp_path / "sparse", tmp_path / "dense")
    assert lines(tmp_path / "dense") == lines(source)
    for name in ("sparse", "dense"):
        assert read_class_names(tmp_path / name) == tuple(LABELS.split())


def test_shared_bytes_and_left_out_names_change_no_subgraph_and_no_signature(
    tmp_path: Path,
) -> None:
    source = branching(tmp_path / "source", control_flow=True)
    draft = load(source)
    slim(draft.model, Slimming(names=True, merge=True))
    write_or_copy(draft, tmp_path / "slim", changed=True)
    before, after = read(source), read(tmp_path / "slim")
    assert [each.name for each in after.subgraphs] == ["main", "embed", "doubles", "keeps"]
    assert [(s.key, s.subgraph, s.inputs, s.outputs) for s in after.signatures] == [
        (s.key, s.subgraph, s.inputs, s.outputs) for s in before.signatures
    ]
    assert after.metadata == before.metadata
    for one, other in zip(before.subgraphs, after.subgraphs, strict=True):
        assert [t.data.tobytes() for t in other.tensors] == [t.data.tobytes() for t in one.tensors]
        assert [o.op for o in other.operators] == [o.op for o in one.operators]


def test_metadata_that_an_old_file_lists_by_buffer_too_stays_listed(tmp_path: Path) -> None:
    draft = load(branching(tmp_path / "source"))
    model = draft.model
    model.buffers.insert(1, schema.BufferT(data=np.ones(3, np.uint8)))
    for holder in [*(t for s in model.subgraphs for t in s.tensors), *model.metadata]:
        holder.buffer += holder.buffer > 0
    model.metadataBuffer = np.array([item.buffer for item in model.metadata], np.int32)
    drop_unused_buffers(model)
    assert not any(b.data is not None and bytes(b.data) == b"\1\1\1" for b in model.buffers)
    assert model.metadataBuffer.tolist() == [item.buffer for item in model.metadata]
    write(draft, tmp_path / "out")
    assert lines(tmp_path / "out") == lines(tmp_path / "source")


def test_scales_by_blocks_follow_when_tensors_before_them_are_dropped(tmp_path: Path) -> None:
    net = Net()
    gone = net.constant("gone", np.ones(2, np.float32))
    x = net.tensor("x", (1, 4))
    scales, zeros = (net.constant(name, np.ones((4, 1), np.float16)) for name in ("s", "z"))
    w = net.constant("w", np.ones((4, 4), np.int8))
    net.graph.tensors[w].quantization = schema.QuantizationParametersT(
        detailsType=schema.QuantizationDetails.BlockwiseQuantization,
        details=schema.BlockwiseQuantizationT(scales=scales, zeroPoints=zeros, blockSize=4),
    )
    y = net.tensor("y", (1, 4))
    net.operator("FULLY_CONNECTED", [x, w, -1], [y], options=schema.FullyConnectedOptionsT())
    draft = load(net.save(tmp_path / "net", [x], [y]))
    drop_tensors(draft.model, 0, {gone})
    kept = reread(draft)
    details = kept.model.subgraphs[0].tensors[w - 1].quantization.details
    assert [kept.graph.tensors[i].name for i in (details.scales, details.zeroPoints)] == ["s", "z"]


def test_inputs_have_the_names_of_the_first_signature_with_just_these_tensors(
    tmp_path: Path,
) -> None:
    """Tensors 0 and 1 of another subgraph are not those of the main one."""
    net = Net()
    x, y, z = (net.tensor(name, (1,)) for name in "xyz")
    net.operator("ADD", [x, y], [z], options=schema.AddOptionsT())
    draft = load(net.save(tmp_path / "net", [x, y], [z]))
    model = draft.model
    model.subgraphs.append(model.subgraphs[0])
    model.signatureDefs = [
        signature("other", 1, {"wrong": 0, "also_wrong": 1}, {"wrong": 2}),
        signature("part", 0, {"only": 0}, {"sum": 2}),
        signature("whole", 0, {"right": 1, "left": 0}, {"total": 2}),
    ]
    graph = reread(draft).graph
    assert [(port.name, port.tensor) for port in input_ports(graph)] == [("right", 1), ("left", 0)]
    assert [port.name for port in output_ports(graph)] == ["sum"]

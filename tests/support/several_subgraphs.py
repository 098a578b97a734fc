"""Files with more than one subgraph, several signatures and what tools append, built in code."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeprune.tflite.format import draft
from tests.support.tflite_builder import Net, prune

SHARED = (1, 2)
"""Weights and bias of the first layer, in the main subgraph and in `embed`."""
LABELS = "background\ncat\ndog\n"
"""What `labels.txt` says in the archive behind the file."""


def add_subgraph(net: Net, name: str) -> Any:
    """Adds a subgraph, into which `net` puts tensors and operators from now on."""
    net.graph = schema.SubGraphT(tensors=[], operators=[], name=name.encode())
    net.model.subgraphs.append(net.graph)
    return net.graph


def ends(graph: Any, inputs: list[int], outputs: list[int]) -> None:
    """Sets the inputs and outputs of a subgraph."""
    graph.inputs, graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)


def signature(
    key: str, subgraph: int, inputs: Mapping[str, int], outputs: Mapping[str, int]
) -> Any:
    """A signature of the schema, from names to tensors."""
    sides = [
        [schema.TensorMapT(name.encode(), index) for name, index in side.items()]
        for side in (inputs, outputs)
    ]
    return schema.SignatureDefT(*sides, key.encode(), subgraph)


def archive(content: str = LABELS) -> bytes:
    """A ZIP archive with `labels.txt`, as metadata tools append it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as labels:
        labels.writestr("labels.txt", content)
    return packed.getvalue()


def layers(net: Net, x: int, prefix: str, sparsity: float, seed: int) -> int:
    """FULLY_CONNECTED from 16 to 48 and back to 16 with a RELU between them, on `x` `[1, 16]`.

    Each layer adds its weights, its bias and its output to the tensors, in this order.
    """
    rng = np.random.default_rng(seed)
    for number, (taken, made) in enumerate(((16, 48), (48, 16))):
        values = prune(rng.normal(size=(made, taken)), sparsity, (1, 1), seed).astype(np.float32)
        w = net.constant(f"{prefix}/w{number}", values)
        b = net.constant(f"{prefix}/b{number}", rng.normal(size=made).astype(np.float32))
        y = net.tensor(f"{prefix}/y{number}", (1, made))
        relu = schema.ActivationFunctionType.RELU if number == 0 else 0
        options = schema.FullyConnectedOptionsT(fusedActivationFunction=relu)
        net.operator("FULLY_CONNECTED", [x, w, b], [y], options=options)
        x = y
    return x


def branching(path: Path, *, sparsity: float = 0.0, control_flow: bool = False) -> Path:
    """Writes a file with a main subgraph, one that a signature names, and one that IF runs.

    Subgraph 0 has two layers, and behind them with `control_flow` an IF between subgraph 2, which
    doubles, and subgraph 3, which gives its input back. Subgraph 1 has two layers of its own, the
    first of which shares both buffers with the main subgraph's first. Signatures: `classify`
    and `also_classify` of 0, `embed` of 1. There are metadata that nobody knows, a description and
    an archive with labels behind the model.
    """
    net = Net()
    x = net.tensor("x", (1, 16))
    y = layers(net, x, "main", sparsity, seed=1)
    main = net.graph
    if control_flow:
        flag = net.tensor("flag", (1,), "bool")
        made = net.tensor("chosen", (1, 16))
        options = schema.IfOptionsT(thenSubgraphIndex=2, elseSubgraphIndex=3)
        net.operator("IF", [flag, y], [made], options=options)
        ends(main, [x, flag], [made])
    else:
        ends(main, [x], [y])
    add_subgraph(net, "embed")
    other = net.tensor("x", (1, 16))
    embedded = layers(net, other, "embed", sparsity, seed=2)
    ends(net.graph, [other], [embedded])
    for index in SHARED:
        net.graph.tensors[index].buffer = main.tensors[index].buffer
    for name in ("doubles", "keeps") if control_flow else ():
        add_subgraph(net, name)
        taken = net.tensor("taken", (1, 16))
        two = net.constant("two", np.array([2.0 if name == "doubles" else 1.0], np.float32))
        given = net.tensor("given", (1, 16))
        net.operator("MUL", [taken, two], [given], options=schema.MulOptionsT())
        ends(net.graph, [taken], [given])
    takes = dict(zip(("image", "flag"), main.inputs.tolist(), strict=False))
    gives = {"scores": int(main.outputs[0])}
    net.model.signatureDefs = [
        signature("classify", 0, takes, gives),
        signature("embed", 1, {"image": other}, {"vector": embedded}),
        signature("also_classify", 0, takes, gives),
    ]
    net.metadata("made.by.others", bytes(range(200)))
    net.metadata("more", b"")
    model = bytes(draft.pack(net.model))
    path.write_bytes(model)
    opened = draft.load(path)
    draft.write(draft.Draft(opened.graph, opened.model, archive(), opened.raw), path)
    return path

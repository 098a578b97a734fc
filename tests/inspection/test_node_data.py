"""Node data for Model Explorer: what is in it, and by which names it finds its nodes."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.runtime import Runtime
from edgeprune.inspection.inspect_file import inspect
from edgeprune.inspection.node_data import NodeData, node_data
from edgeprune.profiles.profile import load_profile
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import manifest_path
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.several_subgraphs import branching
from tests.support.tflite_builder import Net, dense_net, prune


def known(path: Path, device: str | None = None) -> dict[str, NodeData]:
    profile = None if device is None else load_profile(device)
    return {each.kind: each for each in node_data(read(path), inspect(path, profile), profile)}


def layer(path: Path) -> Path:
    weights = prune(np.arange(1, 4097).reshape(64, 64).astype(np.float32), 0.75, (1, 4))
    return dense_net(path, weights)


def test_zeros_and_kernels_are_known_of_any_file_and_costs_of_a_device_with_a_table(
    tmp_path: Path,
) -> None:
    path = layer(tmp_path / "m.tflite")
    assert list(known(path)) == ["zeros", "kernel"]
    assert list(known(path, "edge-tpu")) == ["zeros", "kernel"]
    found = known(path, "raspberry-pi-4")
    assert list(found) == ["zeros", "kernel", "cost"]
    assert found["zeros"].values == {0: pytest.approx(0.75, abs=0.05)}
    assert found["kernel"].values == {0: "dense"}
    assert float(found["cost"].values[0]) > 4096 / 4
    assert found["cost"].title.startswith("expected instructions (")


def test_an_operator_that_skips_zeros_has_no_cost_of_a_dense_kernel(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tflite"
    rules = EncodingRules((Runtime("LiteRT", "2.1.6"),), direct_float32_from=0.5)
    encode_file(layer(tmp_path / "m.tflite"), rules, path)
    found = known(path, "raspberry-pi-4")
    assert found["kernel"].values == {0: "direct sparse"}
    assert "cost" not in found


def test_errors_are_those_in_the_manifest_beside_the_very_file(tmp_path: Path) -> None:
    net = Net()
    x, y, z = (net.tensor(name, (1,)) for name in ("x", "m_1/first_1/Relu", "m_1/second_1/Relu"))
    net.operator("RELU", [x], [y])
    net.operator("RELU", [y], [z])
    path = net.save(tmp_path / "m.tflite", [x], [z])
    rows = [{"layer": "second", "snr_db": 31.5}, {"layer": "gone", "snr_db": 1.0}]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside = {"artifact": {"sha256": digest}, "int8": {"layers": rows}}
    manifest_path(path).write_text(json.dumps(beside), encoding="utf-8")
    assert known(path)["error"].values == {1: 31.5}
    manifest_path(path).write_text(json.dumps({**beside, "artifact": {}}), encoding="utf-8")
    assert "error" not in known(path)


def test_a_document_has_the_shape_that_model_explorer_takes(tmp_path: Path) -> None:
    path = branching(tmp_path / "m.tflite", sparsity=0.5, control_flow=True)
    graph, found = read(path), known(path)
    (main,) = found["zeros"].to_json(graph).items()
    assert main[0] == "main"
    assert set(main[1]) == {"results", "name", "gradient"}
    assert list(main[1]["results"]) == ["main/y0", "main/y1"]
    assert main[1]["gradient"] == [
        {"stop": 0, "bgColor": "#ffffff"},
        {"stop": 1, "bgColor": "#2563a8"},
    ]
    kernels: dict[str, Any] = found["kernel"].to_json(graph)["main"]
    assert set(kernels) == {"results", "name"}
    assert kernels["results"]["chosen"] == {"value": "dense", "bgColor": "#c3cad2"}


def test_low_values_stand_out_where_they_are_the_ones_to_look_at(tmp_path: Path) -> None:
    graph = read(layer(tmp_path / "m.tflite"))
    (data,) = NodeData("error", "noise", {0: 3.0}, falls=True).to_json(graph).values()
    assert [stop["bgColor"] for stop in data["gradient"]] == ["#2563a8", "#ffffff"]


def test_a_node_whose_name_is_not_its_own_goes_by_its_number(tmp_path: Path) -> None:
    net = Net()
    tensors = [net.tensor(name, (1,)) for name in ("x", "twice", "twice", "", "7", "own")]
    for source, made in itertools.pairwise(tensors):
        net.operator("ABS", [source], [made], options=schema.AbsOptionsT())
    net.graph.name = None
    path = net.save(tmp_path / "m.tflite", tensors[:1], tensors[-1:])
    document = known(path)["kernel"].to_json(read(path))
    assert list(document["main"]["results"]) == ["0", "1", "2", "3", "own"]


def test_inspect_writes_a_file_for_each_kind_of_value(tmp_path: Path) -> None:
    path, output = layer(tmp_path / "m.tflite"), tmp_path / "out.json"
    arguments = ["inspect", str(path), "--device", "raspberry-pi-4", "--node-data", str(output)]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    written = {"out.json", "out.kernel.json", "out.cost.json"}
    assert {each.name for each in tmp_path.iterdir()} == {"m.tflite", *written}
    assert all(str(tmp_path / name) in done.stderr.replace("\n", "") for name in written)
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["main"]["results"]["y"]["value"] == json.loads(done.stdout)["sparsity"]


@pytest.mark.parametrize(
    ("name", "said"), [("out.txt", "a name that ends in .json"), ("no/out.json", "no")]
)
def test_node_data_in_a_wrong_place_is_refused_before_any_work(
    tmp_path: Path, name: str, said: str
) -> None:
    arguments = ["inspect", str(tmp_path / "gone.tflite"), "--node-data", str(tmp_path / name)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "gone.tflite: expected" not in done.output
    assert list(tmp_path.iterdir()) == []

"""Files that end in ARG_MAX or a softmax, and what their kernels are compared by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.inspection.validate_file import validate
from edgeprune.targets import host
from edgeprune.targets.checks import Reference
from edgeprune.targets.child import WorkerError
from edgeprune.targets.decisions import without_decisions
from edgeprune.tflite.format.file import read
from tests.support.runtimes import RUNTIMES
from tests.support.tflite_builder import Net

Ending = Callable[[Net, int], int]


def softmax(net: Net, x: int) -> int:
    y = net.tensor("chances", (1, 8, 8, 64), "int8", scales=[1 / 256], zero_point=-128)
    net.operator("SOFTMAX", [x], [y], 2, schema.SoftmaxOptionsT(beta=1.0))
    return y


def arg_max(net: Net, x: int) -> int:
    y = net.tensor("class", (1, 8, 8), "int32")
    axis = net.constant("axis", np.array([3], np.int32))
    options = schema.ArgMaxOptionsT(outputType=schema.TensorType.INT32)
    net.operator("ARG_MAX", [x, axis], [y], 2, options)
    return y


def cast(net: Net, x: int) -> int:
    y = net.tensor("small class", (1, 8, 8), "uint8")
    net.operator("CAST", [x], [y], 1, schema.CastOptionsT())
    return y


def quantized_net(path: Path, *endings: Ending, both: bool = False) -> Path:
    """Two convolutions with sharp results `[1, 8, 8, 64]`, and what is made of them."""
    rng = np.random.default_rng(1)
    net = Net()
    x = y = net.tensor("x", (1, 8, 8, 16), "int8", scales=[0.02])
    for out, taken, made in ((16, 0.02, 0.2), (64, 0.2, 1.5)):
        weights = rng.integers(-127, 128, (out, 3, 3, 16)).astype(np.int8)
        w = net.constant(f"w{out}", weights, scales=[0.01] * out)
        b = net.constant(f"b{out}", np.zeros(out, np.int32), scales=[taken * 0.01] * out)
        result = net.tensor(f"y{out}", (1, 8, 8, out), "int8", scales=[made])
        net.operator("CONV_2D", [y, w, b], [result], 3, schema.Conv2DOptionsT(strideW=1, strideH=1))
        y = result
    logits = y
    for ending in endings:
        y = ending(net, y)
    return net.save(path, [x], [y, logits] if both else [y])


@pytest.mark.parametrize("endings", [(softmax,), (arg_max,), (arg_max, cast), (softmax, arg_max)])
@pytest.mark.parametrize("both", [False, True])
def test_a_file_is_cut_in_front_of_its_first_decision(
    tmp_path: Path, endings: tuple[Ending, ...], both: bool
) -> None:
    graph = read(quantized_net(tmp_path / "m.tflite", *endings, both=both))
    found = without_decisions(graph, tmp_path / "cut.tflite")
    assert found is not None
    assert [found.tensors[index].name for index in found.outputs] == ["y64"]
    assert found.inputs == graph.inputs


def test_a_file_without_decisions_is_not_cut(tmp_path: Path) -> None:
    graph = read(quantized_net(tmp_path / "m.tflite"))
    assert without_decisions(graph, tmp_path / "cut.tflite") is None
    net = Net()
    x = net.tensor("x", (1, 4), "int32")
    y = net.tensor("y", (1, 4))
    net.operator("CAST", [x], [y], 1, schema.CastOptionsT())
    graph = read(net.save(tmp_path / "m.tflite", [x], [y]))
    assert without_decisions(graph, tmp_path / "cut.tflite") is None
    assert not (tmp_path / "cut.tflite").exists()


def kernels(path: Path) -> list[Any]:
    return [check for check in validate(path, "xnnpack-x86").checks if check.kind == "kernels"]


@pytest.mark.slow
@pytest.mark.parametrize("endings", [(softmax,), (arg_max,), (arg_max, cast)])
def test_kernels_that_differ_by_rounding_pass_whatever_they_decide(
    tmp_path: Path, endings: tuple[Ending, ...]
) -> None:
    """LiteRT's rounding differs by a step, of which this softmax makes 6 % of its output."""
    checks = kernels(quantized_net(tmp_path / "m.tflite", *endings))
    assert [check.ok for check in checks] == [True] * len(RUNTIMES)


def test_kernels_that_compute_something_else_fail_in_front_of_a_decision_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = quantized_net(tmp_path / "m.tflite", softmax)
    plain = host.plain_kernels

    def turned(case: Any, runtime: str) -> Any:
        found = plain(case, runtime)
        assert not isinstance(found, WorkerError)
        outputs = {name: array[..., ::-1] for name, array in found.outputs.items()}
        return Reference(found.description, outputs, found.quantized)

    monkeypatch.setattr(host, "plain_kernels", turned)
    checks = kernels(path)
    assert [check.ok for check in checks] == [False] * len(RUNTIMES)
    assert all("in front of its ARG_MAX or softmax" in check.message for check in checks)

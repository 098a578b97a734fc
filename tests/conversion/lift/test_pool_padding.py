"""Borders in front of maximum pools: no number that ruins a scale, and the same maxima."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.walk import lift
from edgeprune.keras_model.interface import infer
from tests.support.lift_cases import RELU6, VALID, Array, ints, reals, span
from tests.support.runtime_judge import outputs
from tests.support.tflite_builder import Net

LOWEST = float(np.finfo(np.float32).min)


def padded_pool(
    path: Path,
    pads: tuple[tuple[int, int], tuple[int, int]] = ((1, 1), (1, 1)),
    size: int = 3,
    *,
    clipped: bool = False,
    value: float = LOWEST,
    also: bool = False,
) -> Path:
    """A map, a border and a maximum pool; with `also` the bordered map is an output too."""
    net = Net()
    x = source = net.tensor("x", (1, 7, 6, 2))
    if clipped:
        x = net.tensor("clipped", (1, 7, 6, 2))
        options = schema.AddOptionsT(fusedActivationFunction=RELU6)
        net.operator("ADD", [source, net.constant("one", reals(1))], [x], 1, options)
    bordered = [7 + sum(pads[0]), 6 + sum(pads[1])]
    inputs = [x, net.constant("pads", ints([0, 0], *pads, [0, 0])), net.constant("v", reals(value))]
    border = net.tensor("border", (1, *bordered, 2))
    net.operator("PADV2", inputs, [border], 1, schema.PadV2OptionsT())
    made = net.tensor("made", (1, *(span(n, size, 2, 1, VALID) for n in bordered), 2))
    window = {"filterHeight": size, "filterWidth": size, "strideH": 2, "strideW": 2}
    net.operator("MAX_POOL_2D", [border], [made], 1, schema.Pool2DOptionsT(padding=VALID, **window))
    return net.save(path, [source], [made, *([border] if also else [])])


def borders(lifted: Lifted) -> list[tuple[str, str]]:
    """The operations that pad, with their modes."""
    return [
        (type(operation).__name__, getattr(operation, "mode", "constant"))
        for operation in lifted.model.operations
        if type(operation).__name__ in ("Pad", "ZeroPadding2D")
    ]


CASES: dict[str, tuple[Callable[[Path], Path], tuple[str, str]]] = {
    "mirrored": (padded_pool, ("Pad", "symmetric")),
    "on one side": (
        partial(padded_pool, pads=((0, 1), (1, 0)), size=2),
        ("Pad", "symmetric"),
    ),
    "of two pixels": (
        partial(padded_pool, pads=((2, 2), (2, 1)), size=5),
        ("Pad", "symmetric"),
    ),
    "zeros beside what is not negative": (
        partial(padded_pool, clipped=True),
        ("ZeroPadding2D", "constant"),
    ),
    "wider than the map in a window": (
        partial(padded_pool, pads=((2, 2), (1, 1))),
        ("Pad", "constant"),
    ),
    "read by others too": (partial(padded_pool, also=True), ("Pad", "constant")),
    "a value that may be the largest": (partial(padded_pool, value=-0.5), ("Pad", "constant")),
}
"""Files, and what pads in the lifted model."""


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Path, list[Array]]]:
    """Each file with what LiteRT computes, all of them in one process."""
    folder = tmp_path_factory.mktemp("pools")
    paths = [make(folder / f"{number}") for number, (make, _) in enumerate(CASES.values())]
    results = outputs("ai_edge_litert.interpreter", paths, folder)
    return dict(zip(CASES, zip(paths, results, strict=True), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_maxima_stay_whatever_stands_around_the_map(
    judged: Mapping[str, tuple[Path, list[Array]]], name: str
) -> None:
    path, expected = judged[name]
    lifted = lift(path)
    assert borders(lifted) == [CASES[name][1]]
    x = np.random.default_rng(1).standard_normal((1, 7, 6, 2)).astype(np.float32)
    for made, wanted in zip(infer(lifted.model, [x]), expected, strict=True):
        np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-6)

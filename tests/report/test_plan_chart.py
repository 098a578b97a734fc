"""The picture of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.pattern import Channels, Unstructured
from edgeprune.core.plan import LayerInfo, LayerPlan, Plan
from edgeprune.report.plan_chart import PlannedLayer, planned_layers, plot_plan

PNG = b"\x89PNG\r\n"


def row(path: str, kind: str, shape: tuple[int, ...], **more: object) -> LayerPlan:
    given = {"pattern": None, "sparsity": 0.0, "reason": "a reason", **more}
    return LayerPlan.model_validate({"path": path, "kind": kind, "shape": shape, **given})


ROWS = (
    row("stem", "Conv2D", (3, 3, 3, 8)),
    row("$wide$", "Conv2D", (1, 1, 8, 32), pattern=Unstructured(), sparsity=0.75),
    row(
        "narrow",
        "Conv2DTranspose",
        (2, 2, 16, 32),
        pattern=Channels(8),
        sparsity=0.5,
        after=(2, 2, 8, 16),
        expected_error=0.125,
    ),
    row("words", "Embedding", (100, 4)),
    row("relu", "ReLU", ()),
)
INFOS = tuple(
    LayerInfo(each.path, each.kind, each.shape or None, 0, pixels, strides)
    for each, pixels, strides in zip(
        ROWS, (16, 16, 64, 1, 16), ((2, 2), (1, 1), (2, 2), (), ()), strict=True
    )
)


def made(rows: tuple[LayerPlan, ...] = ROWS) -> Plan:
    return Plan(device="board", model="m.keras", goal="latency", asked=0.5, layers=rows)


def test_layers_with_a_kernel_have_multiply_adds_before_and_after_and_errors() -> None:
    """A transposed convolution uses a weight for every position of its input, 64 / (2 * 2)."""
    assert planned_layers(made(), INFOS) == (
        PlannedLayer("stem", 0.0, 3456.0, 3456.0, None),
        PlannedLayer("$wide$", 0.75, 4096.0, 1024.0, None),
        PlannedLayer("narrow", 0.75, 32768.0, 8192.0, 0.125),
        PlannedLayer("words", 0.0, None, None, None),
    )


def test_a_layer_whose_map_is_not_known_has_no_multiply_adds() -> None:
    (layer,) = planned_layers(made(ROWS[:1]), ())
    assert (layer.dense, layer.left) == (None, None)


def test_the_picture_has_every_layer_by_its_name_and_is_the_same_again(tmp_path: Path) -> None:
    paths = tmp_path / "one.svg", tmp_path / "two.SVG"
    for path in paths:
        plot_plan(made(), INFOS, path)
    text = paths[0].read_text(encoding="utf-8")
    assert all(f">{each.path}<" in text for each in ROWS[:4])
    assert "million multiply-adds" in text
    assert "error expected in the outputs" in text
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_plan_without_samples_has_no_column_of_errors(tmp_path: Path) -> None:
    plot_plan(made(ROWS[:2]), INFOS, tmp_path / "plan.svg")
    assert "error expected" not in (tmp_path / "plan.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("rows", [(), ROWS[-1:], ROWS])
def test_a_png_is_drawn_of_any_plan(tmp_path: Path, rows: tuple[LayerPlan, ...]) -> None:
    plot_plan(made(rows), INFOS, tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("name", "said"),
    [("plan.jpg", "ends in .png or .svg"), ("plan", "ends in .png or .svg"), ("no/p.png", "no")],
)
@pytest.mark.parametrize(
    "command", [("plan",), ("prune", "--epochs", "1", "--data", "x.npz", "-o", "o.keras")]
)
def test_a_picture_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, command: tuple[str, ...], name: str, said: str
) -> None:
    verb, *more = command
    picture = str(tmp_path / name)
    words = [verb, str(tmp_path / "gone.keras"), "--device", "edge-tpu", "--plot", picture, *more]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert said in done.output
    assert "gone.keras" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_curves_of_a_training_need_one(tmp_path: Path) -> None:
    words = ["prune", "m.keras", "--device", "edge-tpu", "-o", "o.keras", "--plot"]
    done = CliRunner().invoke(cli, [*words, str(tmp_path / "curves.png")])
    assert done.exit_code == 2
    assert "--plot draws the curves of training: give --epochs." in done.output

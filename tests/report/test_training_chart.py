"""The picture of a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.plan import LayerSparsity
from edgeprune.pruning.training.epoch_record import EpochRecord
from edgeprune.report.training_chart import metric_names, plot_training


def record(epoch: int, *zeros: int, moved: float | None = None, **metrics: float) -> EpochRecord:
    masks = tuple(LayerSparsity(f"k{i}", 100 * (i + 1), zero) for i, zero in enumerate(zeros))
    return EpochRecord(epoch, metrics, masks, moved)


RECORDS = (
    record(3, 20, 100, moved=0.4, loss=2.0, accuracy=0.5, learning_rate=0.1),
    record(4, 50, 100, moved=0.1, loss=1.0, accuracy=0.6, val_loss=1.5, teacher_loss=0.2),
)


def test_zeros_count_by_the_weights_of_each_mask() -> None:
    assert RECORDS[1].sparsity == pytest.approx(150 / 300)
    assert record(1).sparsity is None


def test_losses_and_other_metrics_are_told_apart_and_the_learning_rate_is_neither() -> None:
    assert metric_names(RECORDS) == (("loss", "val_loss", "teacher_loss"), ("accuracy",))


def test_the_curves_have_what_was_logged_and_the_masks(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    plot_training("m.keras: trained for board", RECORDS, path)
    text = path.read_text(encoding="utf-8")
    for said in ("m.keras: trained for board", "loss", "val_loss", "accuracy", "fraction of zeros"):
        assert f">{said}<" in text
    assert ">masks changed<" in text
    assert ">learning_rate<" not in text
    assert all(f">{epoch}<" in text for epoch in (3, 4))


@pytest.mark.parametrize(
    "records", [(record(1),), (record(1, loss=1.0),), (record(1, 5, moved=0.0),)]
)
def test_any_training_is_drawn(tmp_path: Path, records: tuple[EpochRecord, ...]) -> None:
    plot_training("title", records, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")

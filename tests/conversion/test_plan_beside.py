from __future__ import annotations

from pathlib import Path

from edgeprune.conversion.plan_beside import keep_plan, kept_plan, plan_beside
from edgeprune.keras_model.files import load_model, save_model
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune
from tests.support.architectures import build


def test_a_kept_plan_is_that_of_this_very_model_and_device(tmp_path: Path) -> None:
    model, path = build("cnn"), tmp_path / "m.keras"
    made = plan(model, "edge-tpu")
    pruned = prune(model, made)
    save_model(pruned, path)
    keep_plan(made, pruned, path)
    loaded = load_model(path)
    found = kept_plan(loaded, path, "edge-tpu")
    assert found is not None
    assert found.model_copy(update={"pruned_sha256": None}) == made
    assert kept_plan(loaded, path, "xnnpack-x86") is None
    assert kept_plan(model, path, "edge-tpu") is None
    loaded.set_weights([2 * weight for weight in loaded.get_weights()])
    assert kept_plan(loaded, path, "edge-tpu") is None


def test_what_is_no_plan_beside_a_model_is_let_be(tmp_path: Path) -> None:
    model, path = build("cnn"), tmp_path / "m.keras"
    assert kept_plan(model, path, "edge-tpu") is None
    (tmp_path / "m.plan.json").write_text("{")
    assert kept_plan(model, path, "edge-tpu") is None


def test_a_name_that_leaves_no_room_has_no_plan(tmp_path: Path) -> None:
    assert plan_beside(tmp_path / f"{'m' * 245}.keras") == tmp_path / f"{'m' * 245}.plan.json"
    assert plan_beside(tmp_path / f"{'m' * 246}.keras") is None

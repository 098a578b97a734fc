"""Planning a model, and what an edited plan still says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest

import edgeprune
from edgeprune.core.errors import ModelError
from edgeprune.core.plan import LEFT_OUT, read_plan
from edgeprune.keras_model.layers import map_layers
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.channels.plan_removal import plan_removal
from tests.support.architectures import build


def written(tmp_path: Path, content: Any) -> Any:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content))
    return read_plan(path)


def test_a_plan_says_which_layers_the_user_left_out() -> None:
    made = edgeprune.plan(build("cnn"), "xnnpack-x86", skip="conv_1", sparsity=0.3)
    left = {row.path: row.left_out for row in made.layers}
    assert [path for path, out in left.items() if out] == ["conv_1"]
    assert len(left) > 5


def test_reasons_that_were_reworded_change_nothing(tmp_path: Path) -> None:
    """Channels are counted over the layers that were not left out, whatever the reasons say."""
    model = build("cnn")
    made = edgeprune.plan(model, "xnnpack-x86", skip="conv_1", sparsity=0.3)
    content = made.to_json()
    for row in content["layers"]:
        row["reason"] = "because"
    edited = written(tmp_path, content)
    profile, mapped = load_profile("xnnpack-x86"), map_layers(model)
    first, second = (plan_removal(mapped, profile, plan) for plan in (made, edited))
    assert [row.sparsity for row in first.layers] == [row.sparsity for row in second.layers]
    assert [row.after for row in first.layers] == [row.after for row in second.layers]
    assert any(row.sparsity for row in first.layers)


@pytest.mark.parametrize(("reason", "expected"), [(LEFT_OUT, True), ("no weights", False)])
def test_a_plan_from_before_the_field_existed_says_it_by_its_reason(
    tmp_path: Path, reason: str, expected: bool
) -> None:
    content = edgeprune.plan(build("mlp"), "xnnpack-x86", sparsity=0.3).to_json()
    for row in content["layers"]:
        del row["left_out"]
        row["reason"] = reason
    rows = written(tmp_path, content).layers
    assert {row.left_out for row in rows} == {expected}


def test_a_layer_that_keeps_a_state_is_refused_before_anybody_prunes() -> None:
    inputs = keras.Input(batch_shape=(1, 6, 4))
    model = keras.Model(inputs, keras.layers.GRU(2, stateful=True, name="memory")(inputs))
    with pytest.raises(ModelError, match=r"memory: .*stateful=True.*stateful=False"):
        plan(model, "xnnpack-x86")

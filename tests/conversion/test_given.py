"""What a MODEL is: a Keras model, or a .tflite file that is computed with as one."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.conversion.given import (
    Given,
    PrunedFile,
    as_given,
    exportable,
    file_of,
    keras_model_of,
)
from edgeprune.conversion.lift.lifted import Unliftable
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.manifest import hash_model
from edgeprune.conversion.plan_beside import keep_plan, kept_plan
from edgeprune.core.errors import OutputError, PlanError, TfliteError
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import PaddingPlan
from edgeprune.keras_model.interface import predict
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import read
from tests.support.lift_cases import single
from tests.support.lift_networks import residual


def test_a_keras_model_is_given_as_it_is() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    given = as_given(model)
    assert given.model is model
    assert file_of(given) is None
    assert given.sha256 == hash_model(model.get_config(), model.get_weights())
    assert given.pruned(model) is model


def test_a_file_is_given_as_its_lifted_model_and_known_by_its_bytes(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    given = as_given(str(path))
    assert given.name == str(path)
    assert file_of(given) == file_of(path) == path
    assert given.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert as_given(given) is given


@pytest.mark.slow
def test_what_is_pruned_of_a_file_is_written_back_and_has_a_twin(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    made = plan(path, "xnnpack-x86", sparsity=0.5, only="narrow|fc1", look_around=False)
    assert {row.path for row in made.pruned} == {"narrow", "fc1"}
    assert all(isinstance(row.pattern, Channels) for row in made.pruned)
    pruned = prune(path, made)
    assert isinstance(pruned, PrunedFile)
    artifact = pruned.save(tmp_path / "out.tflite")
    exported = export(pruned, "xnnpack-x86", tmp_path / "exported.tflite", plan=made)
    assert read(exported.artifact.path).tensors[3].shape == read(artifact.path).tensors[3].shape
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    wanted = predict(keras_model_of(pruned), [x])[0]
    found = HOST.run(read(artifact.path), [x], "LiteRT").outputs[0]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-4)
    assert artifact.size_bytes < 0.6 * path.stat().st_size


def test_what_only_the_samples_of_a_verb_show_ends_it_before_any_work(tmp_path: Path) -> None:
    lifted = lift(single(tmp_path / "six.tflite", "RELU6", [(1, 5)], [(1, 5)]))
    x = keras.Input((5,))
    wrong = keras.Model(x, keras.layers.ReLU(name="block_RELU6")(x))
    given = Given("six.tflite", wrong, dataclasses.replace(lifted, model=wrong))
    shown = np.full((4, 5), 9, np.float32)
    made = plan(given, "xnnpack-x86", x=shown / 9, look_around=False)
    for ask in (lambda: plan(given, "xnnpack-x86", x=shown), lambda: prune(given, made, shown)):
        with pytest.raises(Unliftable, match=r"operator 0 \(RELU6\)"):
            ask()


def test_a_plan_is_found_again_beside_the_file_that_came_of_it(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    made = plan(path, "xnnpack-x86", only="fc1", look_around=False)
    keep_plan(made, None, path)
    found = kept_plan(None, path, "xnnpack-x86")
    assert found is not None
    assert found.layers == made.layers
    path.write_bytes(path.read_bytes() + bytes(16))
    assert kept_plan(None, path, "xnnpack-x86") is None


def test_a_plan_of_a_file_that_changes_more_than_weights_is_refused(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    with pytest.raises(PlanError, match="Received: --padding symmetric"):
        plan(path, "xnnpack-arm64", padding="symmetric")
    with pytest.raises(PlanError, match="Received: --activation relu6"):
        plan(path, "xnnpack-arm64", activation="relu6")
    made = plan(path, "xnnpack-x86", only="fc1", look_around=False)
    padded = PaddingPlan(path="stem", before="same", after="((1, 1), (1, 1))")
    with pytest.raises(PlanError, match="weights alone"):
        prune(path, made.model_copy(update={"padding": (padded,)}))


def test_what_is_pruned_of_a_file_has_its_ending(tmp_path: Path) -> None:
    given = as_given(residual(tmp_path / "m.tflite"))
    assert given.lifted is not None
    with pytest.raises(OutputError, match=r"ending in \.tflite.*Received: '\.keras'"):
        PrunedFile(given.lifted, given.model).save(tmp_path / "out.keras")
    assert not (tmp_path / "out.keras").exists()


def test_a_pruned_file_lies_on_disk_while_it_is_exported(tmp_path: Path) -> None:
    given = as_given(residual(tmp_path / "m.tflite"))
    assert given.lifted is not None
    with exportable(PrunedFile(given.lifted, given.model)) as path:
        assert isinstance(path, Path)
        assert read(path).tensors[0].name == "image"
    assert not path.exists()


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder.tflite").mkdir()
    (tmp_path / "cut.tflite").write_bytes(residual(tmp_path / "m.tflite").read_bytes()[:500])
    for name, said in (("none", "no such file"), ("folder", "a folder"), ("cut", "cut short")):
        with pytest.raises(TfliteError, match=said):
            as_given(tmp_path / f"{name}.tflite")

"""A SavedModel folder as MODEL: one signature of it, converted once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import edgeprune
from edgeprune.cli.inputs import loaded_model
from edgeprune.conversion.convert import export
from edgeprune.conversion.given import PrunedFile, as_given, exportable, is_lifted
from edgeprune.conversion.saved_model import ConvertedFolder, converted_folder
from edgeprune.core.errors import ModelError, OutputError
from edgeprune.core.files import require_output_name
from edgeprune.core.plan import Plan
from edgeprune.keras_model.interface import predict
from edgeprune.planning.plan_model import plan
from edgeprune.pruning.carry_out import prune
from edgeprune.pruning.training.settings import Training
from edgeprune.targets.host import HOST
from edgeprune.tflite.format.file import read
from tests.support.tiny_tflite import fully_connected

DATA = Path(__file__).parents[1] / "data"
KERAS2 = DATA / "mobile_keras2"
DEVICE = "xnnpack-x86"
NO_PLAN = Plan(device=DEVICE, model="m", goal="latency", asked=0.5, layers=())
X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(folder: Path, signatures: dict[str, Any]) -> Path:
    """A folder with signatures, each with one input of a shape and type, and no graph to run."""
    saved = SavedModel()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    for name, (shape, dtype) in {"__saved_model_init_op": ([], "float32"), **signatures}.items():
        found = graph.signature_def[name].inputs["image"]
        found.dtype = tf.dtypes.as_dtype(dtype).as_datatype_enum
        for size in shape:
            found.tensor_shape.dim.add().size = size
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    return folder


@pytest.mark.parametrize(
    ("signatures", "asked", "said"),
    [
        ({}, None, r"with a signature.*Received: one without.*signatures=f"),
        ({"a": ([1, 4], "float32"), "bee": ([1, 4], "float32")}, None, r"2: a, bee\. Choose one"),
        (
            {"serve": ([1, 4], "float32"), "serving_default": ([1, 5], "float32")},
            None,
            "with 2: serve, serving_default. Choose one",
        ),
        ({"bee": ([1, 4], "float32")}, "be", r"signatures: bee\. Received: --signature be\. Did"),
        ({"a": ([-1, -1, 4, 3], "float32")}, None, r"input 'image'.*\[any, any, 4, 3\].*Save it"),
        ({"a": ([-1], "string")}, None, r"signature 'a', input 'image'.*numbers.*Received: text"),
    ],
)
def test_what_a_folder_offers_is_looked_at_before_it_is_converted(
    signatures: dict[str, Any], asked: str | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        converted_folder(written(tmp_path / "m", signatures), asked)


@pytest.mark.slow
def test_what_keras_exports_has_one_signature_under_two_names(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3)])
    model.export(tmp_path / "exported", verbose=False)
    assert "signature 'serving_default'" in converted_folder(tmp_path / "exported").told
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)
    made = predict(as_given(tmp_path / "exported").model, [x])[0]
    np.testing.assert_allclose(made, model(x), rtol=1e-5, atol=1e-6)


def test_what_is_no_saved_model_is_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(ModelError, match=r"holds saved_model\.pb\. Received: a folder with a\.txt"):
        as_given(tmp_path / "notes")
    whole = (KERAS2 / "saved_model.pb").read_bytes()
    for content in (whole[:900], b""):
        (tmp_path / "notes" / "saved_model.pb").write_bytes(content)
        with pytest.raises(ModelError, match=r"saved_model\.pb: .*a damaged file"):
            as_given(tmp_path / "notes")
    assert not cache.exists()


def test_a_signature_is_chosen_of_saved_models_only(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"m\.tflite: expected a SavedModel.*signature 'a'"):
        as_given(tmp_path / "m.tflite", "a")


@pytest.mark.parametrize(
    "verb",
    [
        lambda folder, **more: edgeprune.plan(folder, DEVICE, **more),
        lambda folder, **more: edgeprune.prune(folder, NO_PLAN, **more),
        lambda folder, **more: edgeprune.prune_one_shot(folder, NO_PLAN, **more),
        lambda folder, **more: edgeprune.train_pruned(folder, NO_PLAN, X, epochs=1, **more),
        lambda folder, **more: edgeprune.export(folder, DEVICE, folder / "m.tflite", **more),
        lambda folder, **more: edgeprune.routes(folder, DEVICE, **more),
        lambda folder, **more: edgeprune.compare(folder, [DEVICE], X, folder / "out", **more),
        lambda folder, **more: edgeprune.search(folder, DEVICE, X, **more),
    ],
)
def test_every_verb_takes_the_signature_that_is_named(verb: Any, tmp_path: Path) -> None:
    folder = written(tmp_path / "m", {"text": ([-1], "string"), "be": ([1, 4], "float32")})
    with pytest.raises(ModelError, match=r"2: be, text\. Choose one with --signature NAME"):
        verb(folder)
    with pytest.raises(ModelError, match=r"signature 'text', input 'image'"):
        verb(folder, signature="text")


def test_a_folder_is_looked_at_once_and_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path / "m", {"be": ([1, 4], "float32")})
    made = fully_connected(tmp_path / "cached.tflite", np.eye(4))
    asked: list[Any] = []

    def converted(*words: Any) -> ConvertedFolder:
        asked.append(words)
        return ConvertedFolder(made, "done")

    for place in ("given", "saved_model"):
        monkeypatch.setattr(f"edgeprune.conversion.{place}.converted_folder", converted)
    assert loaded_model(folder, "be").name == str(folder)
    assert as_given(folder, "be").name == str(folder)
    with exportable(folder, "be") as path:
        assert path == made
    assert asked == [(folder, "be")] * 3


def test_a_planned_folder_is_pruned_by_the_same_signature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ConvertedFolder(fully_connected(tmp_path / "m.tflite", np.eye(16)), "done")
    monkeypatch.setattr("edgeprune.conversion.given.converted_folder", lambda *_: made)
    folder = written(tmp_path / "m", {"be": ([1, 16], "float32")})
    step = plan(folder, "ethos-u55", sparsity=0.5, signature="be").next_step
    assert step.startswith(f"edgeprune prune {folder} --signature be --device ethos-u55")


def test_what_is_pruned_of_a_folder_is_a_tflite(tmp_path: Path) -> None:
    assert is_lifted(KERAS2)
    require_output_name(KERAS2, tmp_path / "out.tflite")
    with pytest.raises(OutputError, match=r"ending in \.tflite.*Received: '\.keras'"):
        require_output_name(KERAS2, tmp_path / "out.keras")


@pytest.mark.slow
def test_a_saved_model_of_keras_2_is_planned_for_trained_and_exported(tmp_path: Path) -> None:
    given = as_given(KERAS2)
    with np.load(DATA / "mobile_keras2.npz") as kept:
        x, y = kept["x"], kept["y"]
    np.testing.assert_allclose(predict(given.model, [x])[0], y, atol=1e-5)

    assert given.lifted is not None
    graph = given.lifted.graph
    for index in (*graph.inputs, *graph.outputs):
        assert -1 not in graph.tensors[index].shape_signature

    made = plan(KERAS2, "xnnpack-x86", sparsity=0.3)
    assert made.pruned
    assert made.model == str(KERAS2)
    samples = np.random.default_rng(0).uniform(-1, 1, (48, 16, 16, 3)).astype(np.float32)
    pruned = prune(KERAS2, made, samples, Training(epochs=1, batch_size=16))
    assert isinstance(pruned, PrunedFile)
    out = pruned.save(tmp_path / "out.tflite").path
    dense = as_given(KERAS2).lifted
    assert dense is not None
    assert out.stat().st_size < dense.path.stat().st_size
    ours = predict(pruned.model, [x])[0]
    theirs = HOST.run(read(out), [x], "LiteRT").outputs[0]
    np.testing.assert_allclose(theirs.reshape(ours.shape), ours, atol=1e-4)

    direct = export(KERAS2, "xnnpack-x86", tmp_path / "dense.tflite").artifact.path
    theirs = HOST.run(read(direct), [x], "LiteRT").outputs[0]
    np.testing.assert_allclose(theirs.reshape(y.shape), y, atol=1e-5)


class _Two(tf.Module):
    """A module with two functions to serve, one of which TFLite has no operator for."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))

    def functions(self) -> dict[str, Any]:
        """The signatures, by name."""
        takes = [tf.TensorSpec([None, 3], name="x")]
        odd = tf.function(lambda x: tf.math.erfinv(x @ self.kernel), input_signature=takes)
        scores = tf.function(lambda x: x @ self.kernel, input_signature=takes)
        return {"scores": scores, "odd": odd}


@pytest.mark.slow
def test_a_signature_is_converted_once_and_again_when_the_folder_changes(tmp_path: Path) -> None:
    module, folder = _Two(), tmp_path / "two"
    signatures = module.functions()
    tf.saved_model.save(module, str(folder), signatures=signatures)
    with pytest.raises(ModelError, match="TFLite has no operator for TensorFlow's Erfinv"):
        converted_folder(folder, "odd")

    first = converted_folder(folder, "scores")
    assert "was converted by" in first.told
    assert read(first.path).signatures[0].inputs.keys() == {"x"}
    again = converted_folder(folder, "scores")
    assert again.path == first.path
    assert "was converted before" in again.told
    as_given(folder, "scores")

    module.kernel.assign(module.kernel * 2)
    shutil.rmtree(folder)
    tf.saved_model.save(module, str(folder), signatures=signatures)
    changed = converted_folder(folder, "scores")
    assert changed.path != first.path
    assert first.path.is_file()

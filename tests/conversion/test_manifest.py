from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.conversion.convert import export
from edgeprune.conversion.manifest import hash_model, make_manifest
from edgeprune.core.data import RAW
from edgeprune.core.plan import LayerSparsity
from edgeprune.inspection.inspect_file import inspect
from edgeprune.inspection.validate_file import inputs_of_file, validate
from edgeprune.keras_model.files import save_model
from edgeprune.planning.plan_model import plan
from edgeprune.profiles.profile import load_profile
from edgeprune.pruning.carry_out import prune_one_shot
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.metadata import METADATA_NAME, embed, manifest_path, read_embedded
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_sparsely import encode_file
from tests.support.architectures import build, samples
from tests.support.tiny_tflite import fully_connected

WEIGHTS = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
MANIFEST = make_manifest(
    model_sha256="ab" * 32,
    profile=load_profile("xnnpack-arm64"),
    numerics="float32",
    plan=None,
    layers=(LayerSparsity("fc", 128, 64),),
    sizes={"converted": 1000},
    scale={"x": [0.0, 1.0]},
)


def test_an_embedded_manifest_changes_nothing_else(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    draft = tflite_draft.load(path)
    embed(draft.model, MANIFEST)
    tflite_draft.write(draft, tmp_path / "with.tflite")
    before, after = tflite_file.read(path), tflite_file.read(tmp_path / "with.tflite")
    assert [t.name for t in after.tensors] == [t.name for t in before.tensors]
    assert [o.op for o in after.operators] == [o.op for o in before.operators]
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    found = read_embedded(after.metadata)
    assert found is not None
    assert (found["device"], found["model_sha256"]) == ("xnnpack-arm64", "ab" * 32)
    reference = tmp_path / "m.tflite"
    assert validate(tmp_path / "with.tflite", "xnnpack-arm64", reference=reference).ok


def test_a_file_says_by_what_its_data_was_scaled(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    (before,) = inputs_of_file(tflite_file.read(path))
    draft = tflite_draft.load(path)
    embed(draft.model, {**MANIFEST, "scale": {before.name: [3.0, 4.0]}})
    tflite_draft.write(draft, path)
    (after,) = inputs_of_file(tflite_file.read(path))
    assert (before.scale, after.scale) == (None, (3.0, 4.0))


def test_a_file_without_a_manifest_takes_the_scale_of_its_keras_reference(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    (spec,) = inputs_of_file(tflite_file.read(path))
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Dense(8)]
    model = keras.Sequential([keras.Input((16,), name=spec.name), *layers])
    save_model(model, tmp_path / "m.keras")
    (found,) = inputs_of_file(tflite_file.read(path), tmp_path / "m.keras")
    assert found.scale == RAW


DEEP = '{"a":' * 100_000


@pytest.mark.parametrize(
    "text",
    [
        *(DEEP, "[" * 100_000, '{"a":' * 900 + "1" + "}" * 900, '{"a":' * 65 + "1" + "}" * 65),
        *('{"a": NaN}', '{"a": [1, {"b": 1e400}]}', '{"a": -Infinity}', f'{{"a": {"9" * 6000}}}'),
        *("[]", "1", '"x"', "", "{", '{"a": "\xff"}'),
    ],
)
def test_a_manifest_that_edgeprune_cannot_have_written_is_none(text: str) -> None:
    assert read_embedded({METADATA_NAME: text.encode("latin-1")}) is None


def test_a_manifest_may_be_deeper_than_those_of_today() -> None:
    text = '{"a":' * 64 + "1" + "}" * 64
    assert json.dumps(read_embedded({METADATA_NAME: text.encode()})).replace(" ", "") == text


@pytest.mark.parametrize(
    "manifest", [{"versions": []}, {"versions": {"edgeprune": [1]}, "device": {}}, {"device": 1}]
)
def test_a_manifest_of_other_types_is_shown_as_it_is_and_claims_nothing(
    tmp_path: Path, manifest: dict[str, Any]
) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    draft = tflite_draft.load(path)
    embed(draft.model, MANIFEST)
    draft.model.buffers[-1].data = np.frombuffer(json.dumps(manifest).encode(), np.uint8)
    tflite_draft.write(draft, path)
    found = inspect(path)
    assert found.to_json()["manifest"] == manifest
    assert found.made_by == "Made by edgeprune ? for ? from the model with sha256 ?"
    assert found.made_by in str(found)


def test_embedding_again_replaces_the_old_manifest(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", WEIGHTS)
    for device in ("xnnpack-arm64", "xnnpack-x86"):
        draft = tflite_draft.load(path)
        embed(draft.model, {**MANIFEST, "device": device})
        tflite_draft.write(draft, path)
    metadata = tflite_file.read(path).metadata
    assert list(metadata) == [METADATA_NAME]
    assert read_embedded(metadata) is not None
    assert json.loads(metadata[METADATA_NAME])["device"] == "xnnpack-x86"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_manifest_that_is_not_ours_reads_as_none(content: bytes) -> None:
    assert read_embedded({METADATA_NAME: content}) is None
    assert read_embedded({}) is None


def test_the_hash_of_a_model_tells_weights_and_architecture_apart() -> None:
    model = build("mlp")
    config = model.get_config()
    first = hash_model(config, model.get_weights())
    assert first == hash_model(config, model.get_weights())
    assert first != hash_model({**config, "name": "other"}, model.get_weights())
    changed = model.get_weights()
    changed[0][0, 0] += 1
    assert first != hash_model(config, changed)


@pytest.mark.slow
def test_an_export_has_its_manifest_inside_and_beside(tmp_path: Path) -> None:
    model = build("mobilenet_v1")
    made = plan(model, "arm-neon-int8")
    pruned = prune_one_shot(model, made)
    path = tmp_path / "m.tflite"
    export(pruned, "arm-neon-int8", path, x=samples(model, 16), plan=made)
    beside = json.loads(manifest_path(path).read_text())
    assert beside["plan"] == made.to_json()
    assert beside["profile"]["name"] == beside["device"] == "arm-neon-int8"
    assert beside["artifact"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert beside["artifact"]["size_bytes"] == path.stat().st_size
    assert {"edgeprune", "tensorflow", "keras"} <= beside["versions"].keys()
    inside = inspect(path).manifest
    assert inside is not None
    assert inside["model_sha256"] == beside["model_sha256"]
    assert inside["plan"]["layers"]["block_1_pw"] == "Channels(16) 0.5"
    assert len(json.dumps(inside)) < 2000


@pytest.mark.slow
def test_encoding_leaves_the_manifest_in_peace(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    model = build("mlp")
    export(prune_one_shot(model, plan(model, "ethos-u55")), "xnnpack-x86", path)
    encode_file(path, EncodingRules(), tmp_path / "again.tflite")
    assert inspect(tmp_path / "again.tflite").manifest == inspect(path).manifest is not None

"""Which number format a .tflite file is exported in, and what is written of it."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeprune.conversion.convert import export
from edgeprune.conversion.export_file import asked_of_file
from edgeprune.conversion.lift.lifted import Unliftable
from edgeprune.core.errors import DataError, ModelError, ProfileError
from edgeprune.core.terms import Numerics
from edgeprune.profiles.profile import load_profile
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import manifest_path, read_embedded
from tests.support.islands import two_parts
from tests.support.lift_networks import Kind, LiftNet, residual
from tests.support.several_subgraphs import branching
from tests.support.small_nets import chain, two_of_four


@pytest.mark.parametrize(
    ("kind", "device", "route", "numerics", "wanted", "keeps"),
    [
        ("float32", "xnnpack-arm64", None, None, "float32", True),
        ("float32", "xnnpack-arm64", None, "float16", "float16", False),
        ("float32", "edge-tpu", None, None, "int8", False),
        ("float16", "xnnpack-arm64", None, None, "float16", True),
        ("float16", "xnnpack-arm64", "latency", None, "float16", True),
        ("float16", "edge-tpu", None, None, "int8", False),
        ("dynamic-range", "xnnpack-arm64", None, None, "dynamic-range", True),
    ],
)
def test_a_file_keeps_its_number_format_where_the_device_has_it(
    kind: Kind,
    device: str,
    route: str | None,
    numerics: Numerics | None,
    wanted: str,
    keeps: bool,
    tmp_path: Path,
) -> None:
    path = residual(tmp_path / "m.tflite", kind)
    asked = asked_of_file(path, load_profile(device), route, numerics)
    assert (asked.numerics, asked.keeps) == (wanted, keeps)


def test_an_int8_file_is_made_into_no_other_format(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.tflite", [("CONV_2D", two_of_four((8, 1, 1, 8)))])
    offered = load_profile("xnnpack-arm64")
    assert asked_of_file(path, offered, None, None).keeps
    with pytest.raises(ModelError, match="expected a float file.*Received: one in int8"):
        asked_of_file(path, offered, "latency", None)


def test_a_file_that_was_pruned_for_a_route_of_floats_keeps_its_own_format(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite", "dynamic-range")
    offered = load_profile("xnnpack-x86")
    asked = asked_of_file(path, offered, None, None, planned="flash")
    assert (asked.numerics, asked.keeps) == ("dynamic-range", True)
    assert asked.profile.route.name == "flash"
    with pytest.raises(ModelError, match="Leave out --route"):
        asked_of_file(path, offered, "flash", None, planned="flash")


def test_an_unknown_route_is_refused(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    with pytest.raises(ProfileError, match="unknown route 'fast'"):
        asked_of_file(path, load_profile("xnnpack-x86"), "fast", None)


def test_a_file_in_its_own_format_is_not_lifted_and_its_manifest_has_its_hash(
    tmp_path: Path,
) -> None:
    path = unliftable(tmp_path / "m.tflite")
    exported = export(path, "xnnpack-x86", tmp_path / "out.tflite")
    assert exported.numerics == "float32"
    written = read(exported.artifact.path)
    assert written.operators[0].op == read(path).operators[0].op
    manifest = json.loads(manifest_path(exported.artifact.path).read_text())
    assert manifest["model_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "lifted" not in manifest
    embedded = read_embedded(written.metadata)
    assert embedded is not None
    assert embedded["route"] == "latency"


def test_another_format_of_a_file_that_cannot_be_lifted_is_refused_by_its_operators(
    tmp_path: Path,
) -> None:
    path = unliftable(tmp_path / "m.tflite")
    x = np.zeros((8, 4), np.float32)
    with pytest.raises(Unliftable, match=r"operator 0 \(MULTINOMIAL\)"):
        export(path, "edge-tpu", tmp_path / "out.tflite", x=x)
    assert not (tmp_path / "out.tflite").exists()


def test_another_format_of_a_file_with_an_island_is_refused_by_its_operators(
    tmp_path: Path,
) -> None:
    path = two_parts(tmp_path / "m.tflite")
    x = np.zeros((8, 4, 4, 3), np.float32)
    with pytest.raises(Unliftable, match=r"operator 2 \(REVERSE_SEQUENCE\): there is"):
        export(path, "edge-tpu", tmp_path / "out.tflite", x=x)
    assert not (tmp_path / "out.tflite").exists()


def test_int8_of_a_float_file_needs_data(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    with pytest.raises(DataError, match="int8 needs calibration data"):
        export(path, "edge-tpu", tmp_path / "out.tflite")
    assert not (tmp_path / "out.tflite").exists()


@pytest.mark.slow
def test_int8_of_a_float_file_has_its_names_signature_and_metadata(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    x = np.random.default_rng(0).uniform(-1, 1, (32, 8, 8, 3)).astype(np.float32)
    exported = export(path, "edge-tpu", tmp_path / "out.tflite", x=x)
    given, written = read(path), read(exported.artifact.path)
    assert exported.numerics == "int8"
    assert written.metadata["note"] == given.metadata["note"]
    assert written.description == given.description
    assert [signature.key for signature in written.signatures] == ["serving_default"]
    for name, tensors in (("inputs", ("x0",)), ("outputs", ("y0",))):
        sides = [getattr(graph.signatures[0], name) for graph in (given, written)]
        assert [tuple(side) for side in sides] == [tensors, tensors]
        before, after = (
            graph.tensors[side[tensors[0]]].name
            for graph, side in zip((given, written), sides, strict=True)
        )
        assert before == after
    manifest = json.loads(manifest_path(exported.artifact.path).read_text())
    assert manifest["lifted"] is True
    assert manifest["model_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_format_of_a_file_of_several_subgraphs_is_refused_as_they_would_be_lost(
    tmp_path: Path,
) -> None:
    path = branching(tmp_path / "m.tflite")
    offered = load_profile("edge-tpu")
    with pytest.raises(ModelError, match="of one subgraph.*Received: 2, with 'embed' beside"):
        asked_of_file(path, offered, None, None)
    assert asked_of_file(path, load_profile("xnnpack-x86"), None, None).keeps


@pytest.mark.slow
def test_another_format_keeps_every_signature_and_metadata_of_any_name(tmp_path: Path) -> None:
    path = residual(tmp_path / "m.tflite")
    draft = load(path)
    (first,) = draft.model.signatureDefs
    second = copy.deepcopy(first)
    second.signatureKey, second.inputs[0].name = b"again", b"picture"
    draft.model.signatureDefs.append(second)
    for name in (b"\xff", None):
        draft.model.metadata.append(schema.MetadataT(name, draft.model.metadata[0].buffer))
    write(draft, path)
    exported = export(path, "xnnpack-x86", tmp_path / "out.tflite", numerics="float16")
    given, written = read(path), read(exported.artifact.path)
    assert exported.numerics == "float16"
    for before, after in zip(given.signatures, written.signatures, strict=True):
        assert (after.key, list(after.inputs), list(after.outputs)) == (
            before.key,
            list(before.inputs),
            list(before.outputs),
        )
        assert tuple(after.inputs.values()) == written.inputs
        assert tuple(after.outputs.values()) == written.outputs
    assert {name: written.metadata.get(name) for name in given.metadata} == given.metadata


def unliftable(path: Path) -> Path:
    """A file with an operator that has no counterpart in Keras."""
    net = LiftNet("float32")
    x = net.tensor("x", (1, 4))
    count = net.constant("count", np.array(2, np.int32))
    y = net.tensor("drawn", (1, 2), "int64")
    net.operator("MULTINOMIAL", [x, count], [y], options=schema.RandomOptionsT(seed=1, seed2=2))
    return net.save(path, [x], [y])

"""The last steps of `export` and `encode`: what is left out, packed, and written beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune import plan, prune
from edgeprune.cli import cli
from edgeprune.conversion.convert import export
from edgeprune.core.errors import ProfileError
from edgeprune.inspection.validate_file import validate
from edgeprune.keras_model.files import save_model
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.tflm.packing import plain_path
from edgeprune.tflite.format.decode_operator import holds_packed
from edgeprune.tflite.format.file import read
from edgeprune.tflite.metadata import manifest_path, read_embedded
from edgeprune.tflite.slim import Slimming
from tests.support.architectures import build, samples
from tests.support.packing import mixed_net
from tests.support.tiny_tflite import fully_connected

CORTEX = load_profile("cortex-m-tflm")


def encode(path: Path, output: Path, *words: str) -> Any:
    arguments = ["encode", str(path), "--device", "cortex-m-tflm", *words, "-o", str(output)]
    return CliRunner().invoke(cli, [*arguments, "--json"])


def test_encode_packs_on_the_route_that_packs_and_keeps_the_plain_file(tmp_path: Path) -> None:
    source, output = mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite"
    done = encode(source, output, "--route", "decode")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    packing = content["packing"]
    assert packing["plain"] == "p.plain.tflite"
    assert packing["packed"] == ["w0", "w2"]
    assert packing["packed_bytes"] == output.stat().st_size == content["bytes_after"]
    assert packing["plain_bytes"] == plain_path(output).stat().st_size
    assert packing["arena_grows_bytes"] > 0
    assert {row["name"]: row["stored"] for row in content["tensors"] if row["name"][0] == "w"} == {
        "w0": "decode",
        "w1": "dense",
        "w2": "decode",
    }
    assert holds_packed(read(output))
    assert not holds_packed(read(plain_path(output)))
    assert validate(output, CORTEX, reference=source).ok


def test_without_that_route_the_file_stays_as_it_is(tmp_path: Path) -> None:
    source, output = mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite"
    assert json.loads(encode(source, output).stdout)["packing"] is None
    assert output.read_bytes() == source.read_bytes()
    assert not plain_path(output).exists()


@pytest.mark.slow
def test_encoding_a_packed_file_again_gives_the_same_two_files(tmp_path: Path) -> None:
    first, again = tmp_path / "first.tflite", tmp_path / "again.tflite"
    encode(mixed_net(tmp_path / "m.tflite"), first, "--route", "decode")
    assert encode(first, again).exit_code == 0
    assert again.read_bytes() == first.read_bytes()
    assert plain_path(again).read_bytes() == plain_path(first).read_bytes()


def test_names_are_stripped_on_request_on_every_route(tmp_path: Path) -> None:
    source, output = mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite"
    assert encode(source, output, "--strip-names").exit_code == 0
    assert {tensor.name for tensor in read(output).tensors} == {""}
    assert output.stat().st_size < source.stat().st_size
    assert validate(output, CORTEX, reference=source).ok


def test_a_limit_for_a_route_that_packs_nothing_is_bad_usage(tmp_path: Path) -> None:
    done = encode(mixed_net(tmp_path / "m.tflite"), tmp_path / "p.tflite", "--max-arena", "9000")
    assert done.exit_code == 2
    assert "--max-arena" in json.loads(done.stdout)["error"]["message"]
    assert not (tmp_path / "p.tflite").exists()


def test_a_file_with_nothing_to_pack_is_written_as_it_is_and_said_so(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "m.tflite", np.eye(64))
    output = tmp_path / "p.tflite"
    done = encode(path, output, "--route", "decode")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["packing"]["packed"] == []
    assert output.read_bytes() == plain_path(output).read_bytes()


@pytest.mark.slow
def test_export_packs_after_its_checks_and_says_so_in_the_manifest(tmp_path: Path) -> None:
    model = build("cnn")
    made = plan(model, CORTEX, route="decode")
    x = samples(model, 30)
    output = tmp_path / "net.tflite"
    done = export(prune(model, made), CORTEX, output, x=x, plan=made)
    assert done.packed is not None
    assert done.packed.packs
    assert done.artifact.size_bytes == output.stat().st_size < done.packed.plain_bytes
    assert {tensor.storage for tensor in done.sparse} == {"decode"}
    manifest = json.loads(manifest_path(output).read_text())
    assert manifest["route"] == "decode"
    assert manifest["packing"] == done.packed.to_json()
    assert (read_embedded(read(output).metadata) or {})["route"] == "decode"
    assert validate(output, CORTEX).ok
    again = export(
        prune(model, made),
        CORTEX,
        tmp_path / "slim.tflite",
        x=x,
        plan=made,
        slimming=Slimming(names=True, manifest=True),
        max_arena=done.packed.plain_arena,
    )
    assert again.packed is not None
    assert not again.packed.packs
    assert read(again.artifact.path).metadata.get("edgeprune") is None
    assert again.packed.plain_bytes < done.packed.plain_bytes - 500
    with pytest.raises(ProfileError, match="--max-arena"):
        export(model, CORTEX, tmp_path / "no.tflite", x=x, max_arena=10_000)


@pytest.mark.slow
def test_the_command_writes_all_files_of_the_route(tmp_path: Path) -> None:
    model = build("cnn")
    pruned = prune(model, plan(model, CORTEX, route="decode"))
    save_model(pruned, tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=samples(model, 20)[0])
    arguments = ["export", str(tmp_path / "m.keras"), "--device", "cortex-m-tflm", "--route"]
    arguments += ["decode", "--data", str(tmp_path / "d.npz"), "--c-array", "--strip-names"]
    done = CliRunner().invoke(cli, [*arguments, "-o", str(tmp_path / "net.tflite"), "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert content["packing"]["plain"] == "net.plain.tflite"
    names = {path.name for path in tmp_path.glob("net*")}
    assert names == {"net.cc", "net.h", "net.manifest.json", "net.plain.tflite", "net.tflite"}
    assert content["c_array"]["resolver"] == str(tmp_path / "net.h")
    assert "AddDecode" in (tmp_path / "net.h").read_text()

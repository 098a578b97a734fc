"""C arrays, compiled by the real g++ and read back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.cli import cli
from edgeprune.core.errors import OutputError, TfliteError
from edgeprune.keras_model.files import save_model
from edgeprune.tflite.c_array import c_identifier, write_c_array
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.metadata import read_embedded
from tests.support.architectures import build, samples
from tests.support.tiny_tflite import fully_connected

WEIGHTS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
KEYWORDS = {"int", "class", "alignas", "const"}
MAIN = """
#include <cstdint>
#include <cstdio>
#include "{header}"
#include "{header}"
int main() {{
  if (reinterpret_cast<std::uintptr_t>({name}) % 16) return 1;
  return std::fwrite({name}, 1, {name}_size, stdout) == {name}_size ? 0 : 2;
}}
"""


def compile_and_read(folder: Path, header: Path, source: Path, identifier: str) -> bytes:
    """Builds a program of the pair, warnings being errors, and returns the array's bytes."""
    main = folder / "main.cpp"
    main.write_text(MAIN.format(header=header.name, name=identifier), encoding="utf-8")
    program = folder / "program"
    compiler = shutil.which("g++")
    assert compiler, "the tests need g++: apt-get install g++"
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
    subprocess.run(
        [compiler, "-std=c++11", *warnings, str(main), str(source), "-o", str(program)],
        check=True,
        timeout=120,
    )
    return subprocess.run([program], check=True, timeout=60, capture_output=True).stdout


@pytest.mark.parametrize("name", ["model.tflite", "7 wake-word,é.v2.tflite"])
def test_the_compiled_array_holds_the_file_aligned_to_16(name: str, tmp_path: Path) -> None:
    path = fully_connected(tmp_path / name, WEIGHTS)
    made = write_c_array(path)
    found = compile_and_read(tmp_path, made.header, made.source, made.identifier)
    assert found == path.read_bytes()


def test_the_header_is_what_firmware_expects(tmp_path: Path) -> None:
    path = fully_connected(tmp_path / "person_detect.tflite", WEIGHTS)
    made = write_c_array(path)
    assert made.identifier == "g_person_detect_data"
    header, source = made.header.read_text(), made.source.read_text()
    assert "#ifndef G_PERSON_DETECT_DATA_H_\n#define G_PERSON_DETECT_DATA_H_\n" in header
    assert "extern const unsigned int g_person_detect_data_size;" in header
    assert f"g_person_detect_data_size = {path.stat().st_size};" in source
    assert "alignas(16) const unsigned char g_person_detect_data[] = {" in source


@given(st.text(max_size=12))
def test_every_file_name_gives_an_identifier(stem: str) -> None:
    name = c_identifier(stem)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)
    assert "__" not in name
    assert name not in KEYWORDS


@pytest.mark.parametrize("name", ["model.cc", "model.h", 'my"model.tflite', "back\\slash.tflite"])
def test_a_name_that_the_pair_cannot_have_is_bad_input(name: str, tmp_path: Path) -> None:
    path = fully_connected(tmp_path / name, WEIGHTS)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="named after it"):
        write_c_array(path)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert path.read_bytes() == before


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model at all")
    with pytest.raises(TfliteError):
        write_c_array(path)
    assert [each.name for each in tmp_path.iterdir()] == ["m.tflite"]


@pytest.mark.slow
def test_export_writes_the_pair_with_the_manifest_as_a_comment(tmp_path: Path) -> None:
    model = build("cnn")
    save_model(model, tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=samples(model, 20)[0])
    arguments = ["export", str(tmp_path / "m.keras"), "--device", "cortex-m-tflm", "--c-array"]
    arguments += ["--data", str(tmp_path / "d.npz"), "-o", str(tmp_path / "net.tflite"), "--json"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    pair = json.loads(done.stdout)["c_array"]
    assert pair["identifier"] == "g_net_data"
    source, header = Path(pair["source"]), Path(pair["header"])
    content = (tmp_path / "net.tflite").read_bytes()
    assert compile_and_read(tmp_path, header, source, "g_net_data") == content
    comment = "".join(
        line.removeprefix("//")
        for line in source.read_text().split("// Its manifest:\n")[1].splitlines()
        if line.startswith("//")
    )
    graph = tflite_file.read(tmp_path / "net.tflite")
    assert json.loads(comment) == read_embedded(graph.metadata)

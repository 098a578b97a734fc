"""C arrays, compiled by the real g++ and read back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.cli import cli
from edgeprune.core.errors import OutputError, TfliteError
from edgeprune.keras_model.files import save_model
from edgeprune.targets.tflm.packing import measured_arena
from edgeprune.targets.tflm.target import TFLM_WORKER
from edgeprune.tflite.c_array import CArray, c_identifier, write_c_array
from edgeprune.tflite.firmware_arena import planned_arena
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.metadata import read_embedded
from edgeprune.tflite.op_resolver import PROBED, method_of, methods_of
from edgeprune.tflite.op_versions import op_versions
from tests.support.architectures import build, samples
from tests.support.loading import stand_in_headers, with_variables
from tests.support.micro_headers import RESOLVER_METHODS, Place, micro_headers
from tests.support.packing import mixed_net, packed
from tests.support.tflite_builder import Net
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


USE = """
#include <cstdio>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "{header}"
int main() {{
  {place}::MicroMutableOpResolver<{prefix}_operators> resolver;
  if ({prefix}_add_operators(resolver) != {ok}) return 1;
  static unsigned char arena[{prefix}_arena_size];
  return resolver.added == {prefix}_operators && sizeof(arena) % 16 == 0 ? 0 : 2;
}}
"""
PLACES: tuple[Place, ...] = ("tflite", "tflite::micro")
ADDED = re.compile(r"resolver\.(Add(?!Custom)\w+)\(")


def run_resolver(folder: Path, made: CArray, place: Place = "tflite") -> int:
    """Compiles a header, and adds its operators to the resolver of a stand-in with every method."""
    stand_in_headers(folder, "tensorflow/lite", micro_headers(place))
    ok = "kTfLiteOk" if place == "tflite" else f"{place}::kTfLiteOk"
    prefix = made.identifier.removesuffix("_data")
    use = USE.format(header=made.header.name, prefix=prefix, place=place, ok=ok)
    (folder / "use.cpp").write_text(use)
    compiler = shutil.which("g++")
    assert compiler, "the tests need g++: apt-get install g++"
    program = folder / "use"
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{folder}")
    command = [compiler, *flags, str(folder / "use.cpp"), "-o", str(program)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    return subprocess.run([program], check=False, timeout=60).returncode


@pytest.mark.parametrize("place", PLACES)
def test_the_header_of_a_packed_file_compiles_and_adds_decode(place: Place, tmp_path: Path) -> None:
    path = packed(mixed_net(tmp_path / "m.tflite"), tmp_path / "net.tflite")
    made = write_c_array(path, planned_arena(tflite_file.read(path)))
    text = made.header.read_text()
    assert ADDED.findall(text) == ["AddDecode", "AddConv2D", "AddDepthwiseConv2D"]
    assert "no alternate decompression memory" in text
    assert run_resolver(tmp_path, made, place) == 0


def test_the_header_of_a_plain_file_does_not_speak_of_decode(tmp_path: Path) -> None:
    path = mixed_net(tmp_path / "m.tflite")
    made = write_c_array(path, planned_arena(tflite_file.read(path)))
    text = made.header.read_text()
    assert "ecod" not in text
    assert "Bytes of arena, not measured" in text
    assert run_resolver(tmp_path, made) == 0


def test_a_method_that_the_resolver_does_not_have_stops_the_build(tmp_path: Path) -> None:
    path = mixed_net(tmp_path / "m.tflite")
    made = write_c_array(path, planned_arena(tflite_file.read(path)))
    text = made.header.read_text()
    made.header.write_text(text.replace("AddDepthwiseConv2D", "AddDepthwiseConv2d"))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_resolver(tmp_path, made)
    assert "AddDepthwiseConv2d" in failed.value.stderr.decode()


def test_a_custom_operator_that_nobody_knows_stops_the_build_where_it_is_added_alone(
    tmp_path: Path,
) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4))
    net.operator("CUSTOM", [x], [y], custom_code=b'my "own\n??/#define x')
    path = net.save(tmp_path / "m.tflite", [x], [y])
    made = write_c_array(path, planned_arena(tflite_file.read(path)))
    assert "m_operators = 1;" in made.header.read_text()
    assert compile_and_read(tmp_path, made.header, made.source, made.identifier)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_resolver(tmp_path, made)
    assert "TensorFlow Lite Micro has no operator my__own____" in failed.value.stderr.decode()


def test_an_operator_that_tflite_micro_lacks_is_no_method(tmp_path: Path) -> None:
    net = Net()
    x, y, z = (net.tensor(name, (1, 4)) for name in "xyz")
    net.operator("DENSIFY", [x], [y])
    net.operator("RELU", [y], [z])
    graph = tflite_file.read(net.save(tmp_path / "m.tflite", [x], [z]))
    assert methods_of(graph) == (("AddRelu",), ("DENSIFY",))


def test_every_operator_that_tflite_micro_has_is_a_method_of_its_resolver() -> None:
    known = op_versions()[str(PROBED)]
    assert [op for op in known if (method_of(op) or "")[3:] not in RESOLVER_METHODS] == []


def test_variables_are_counted_once_each(tmp_path: Path) -> None:
    path = with_variables(tmp_path / "m.tflite")
    made = write_c_array(path, planned_arena(tflite_file.read(path)))
    assert "constexpr int g_m_variables = 2;" in made.header.read_text()
    assert ADDED.findall(made.header.read_text()) == ["AddVarHandle", "AddRelu"]
    assert run_resolver(tmp_path, made) == 0


def test_the_array_alone_names_no_arena(tmp_path: Path) -> None:
    made = write_c_array(mixed_net(tmp_path / "m.tflite"))
    assert "__cplusplus" not in made.header.read_text()
    assert made.to_json()["resolver"] is None


@pytest.mark.slow
def test_tflite_micro_runs_in_the_arena_of_the_header_and_not_in_less(tmp_path: Path) -> None:
    path = packed(mixed_net(tmp_path / "m.tflite"), tmp_path / "net.tflite")
    made = write_c_array(path, measured_arena(path))
    (size,) = re.findall(r"g_net_arena_size = (\d+);", made.header.read_text())
    script = tmp_path / "run.py"
    script.write_text(RUN_IN_ARENA)
    for room, code in ((int(size), 0), (int(size) - 64, 1)):
        command = [sys.executable, str(script), str(path), str(room)]
        done = subprocess.run(command, check=False, capture_output=True, timeout=300)
        assert done.returncode == code, done.stderr


RUN_IN_ARENA = """
import sys
from tflite_micro.python.tflite_micro import runtime
runtime.Interpreter.from_file(sys.argv[1], arena_size=int(sys.argv[2])).invoke()
"""


def test_the_wheel_of_tflite_micro_has_the_operator_of_every_method() -> None:
    spec = find_spec("tflite_micro")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (shipped,) = Path(spec.submodule_search_locations[0]).glob("python/tflite_micro/_runtime*.so")
    nm = shutil.which("nm")
    assert nm, "the tests need nm: apt-get install binutils"
    command = [nm, "-D", "-C", "--defined-only", str(shipped)]
    symbols = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    registered = {plain(name) for name in re.findall(r"::Register_(\w+)\(\)", symbols)}
    assert [name for name in RESOLVER_METHODS if plain(name) not in registered] == []
    # Where a method is called as the parser of its operator, capital letters are the same.
    parsers = {plain(name): name for name in re.findall(r"::Parse(\w+)\(tflite::Operator", symbols)}
    named = [(name, parsers[plain(name)]) for name in RESOLVER_METHODS if plain(name) in parsers]
    assert len(named) > 80
    assert [pair for pair in named if pair[0] != pair[1]] == [("CumSum", "Cumsum")]


def plain(name: str) -> str:
    return name.replace("_", "").lower()


@pytest.mark.slow
def test_the_methods_are_those_of_the_operators_that_the_interpreter_registers(
    tmp_path: Path,
) -> None:
    script = tmp_path / "ask.py"
    script.write_text(REGISTERED)
    folder = Path(TFLM_WORKER).parent
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=300
    )
    known = json.loads(done.stdout)
    assert {"CONV_2D", "FULLY_CONNECTED", "SOFTMAX"} <= set(known)
    assert len(known) > 90
    missing = [op for op in known if (method_of(op) or "")[3:] not in RESOLVER_METHODS]
    assert missing == []
    assert method_of("TFLM_DECODE", custom=True) == "AddDecode"
    assert method_of("MY_OWN", custom=True) is None


REGISTERED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import worker
schema = worker.schema
found = []
for name, number in vars(schema.BuiltinOperator).items():
    if isinstance(number, int) and name not in ("CUSTOM", "DELEGATE", worker.END):
        code = schema.OperatorCodeT(
            deprecatedBuiltinCode=min(number, 127), builtinCode=number, version=1
        )
        operator = schema.OperatorT(inputs=[], outputs=[])
        if name == "VAR_HANDLE":
            operator.builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
            operator.builtinOptions = schema.VarHandleOptionsT(sharedName=b"v")
        if worker.registered(code, operator):
            found.append(name)
print(json.dumps(found))
"""

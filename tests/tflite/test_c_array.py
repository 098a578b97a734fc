"""C arrays, compiled by the real g++ and read back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.cli import cli
from edgeprune.core.errors import OutputError, TfliteError
from edgeprune.keras_model.files import save_model
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.tflm import TFLM
from edgeprune.targets.tflm.packing import measured_arena
from edgeprune.targets.tflm.target import TFLM_WORKER
from edgeprune.tflite.c_array import Resolver, c_identifier, write_c_array
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.metadata import read_embedded
from edgeprune.tflite.op_resolver import method_of
from tests.support.architectures import build, samples
from tests.support.packing import mixed_net, packed
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


RESOLVER_METHODS = [
    "Abs",
    "Add",
    "AddN",
    "ArgMax",
    "ArgMin",
    "AssignVariable",
    "AveragePool2D",
    "BatchMatMul",
    "BatchToSpaceNd",
    "BroadcastArgs",
    "BroadcastTo",
    "CallOnce",
    "Cast",
    "Ceil",
    "CircularBuffer",
    "Concatenation",
    "Conv2D",
    "Cos",
    "CumSum",
    "Decode",
    "Delay",
    "DepthToSpace",
    "DepthwiseConv2D",
    "Dequantize",
    "DetectionPostprocess",
    "Div",
    "DynamicUpdateSlice",
    "EmbeddingLookup",
    "Energy",
    "Elu",
    "Equal",
    "EthosU",
    "Exp",
    "ExpandDims",
    "FftAutoScale",
    "Fill",
    "FilterBank",
    "FilterBankLog",
    "FilterBankSquareRoot",
    "FilterBankSpectralSubtraction",
    "Floor",
    "FloorDiv",
    "FloorMod",
    "Framer",
    "FullyConnected",
    "Gather",
    "GatherNd",
    "Greater",
    "GreaterEqual",
    "HardSwish",
    "If",
    "Irfft",
    "L2Normalization",
    "L2Pool2D",
    "LeakyRelu",
    "Less",
    "LessEqual",
    "Log",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "Logistic",
    "LogSoftmax",
    "Maximum",
    "MaxPool2D",
    "MirrorPad",
    "Mean",
    "Minimum",
    "Mul",
    "Neg",
    "NotEqual",
    "OverlapAdd",
    "Pack",
    "Pad",
    "PadV2",
    "PCAN",
    "Prelu",
    "Quantize",
    "ReadVariable",
    "ReduceAll",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "Relu6",
    "Reshape",
    "ResizeBilinear",
    "ResizeNearestNeighbor",
    "ReverseV2",
    "Rfft",
    "Round",
    "Rsqrt",
    "SelectV2",
    "Shape",
    "Sin",
    "Slice",
    "Softmax",
    "SpaceToBatchNd",
    "SpaceToDepth",
    "Split",
    "SplitV",
    "Squeeze",
    "Sqrt",
    "Square",
    "SquaredDifference",
    "StridedSlice",
    "Stacker",
    "Sub",
    "Sum",
    "Svdf",
    "Tanh",
    "TransposeConv",
    "Transpose",
    "Unpack",
    "UnidirectionalSequenceLSTM",
    "VarHandle",
    "While",
    "Window",
    "ZerosLike",
]
"""Behind `Add`, of `MicroMutableOpResolver` in tflite-micro."""
STUB = """
#pragma once
enum TfLiteStatus {{ kTfLiteOk, kTfLiteError }};
namespace tflite {{
template <unsigned int size>
class MicroMutableOpResolver {{
 public:
  unsigned int added = 0;
{methods}
}};
}}
"""
USE = """
#include <cstdio>
#include "{header}"
int main() {{
  tflite::MicroMutableOpResolver<{prefix}_operators> resolver;
  if ({prefix}_add_operators(resolver) != kTfLiteOk) return 1;
  return resolver.added == {prefix}_operators ? 0 : 2;
}}
"""


def run_resolver(folder: Path, header: Path, prefix: str) -> int:
    """Compiles a resolver against a stub with every method, and adds the operators to it."""
    place = folder / "tensorflow" / "lite" / "micro"
    place.mkdir(parents=True, exist_ok=True)
    methods = "\n".join(
        f"  TfLiteStatus Add{name}() {{ return added++ < size ? kTfLiteOk : kTfLiteError; }}"
        for name in RESOLVER_METHODS
    )
    (place / "micro_mutable_op_resolver.h").write_text(STUB.format(methods=methods))
    (folder / "use.cpp").write_text(USE.format(header=header.name, prefix=prefix))
    compiler = shutil.which("g++")
    assert compiler, "the tests need g++: apt-get install g++"
    program = folder / "use"
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{folder}")
    command = [compiler, *flags, str(folder / "use.cpp"), "-o", str(program)]
    subprocess.run(command, check=True, timeout=120)
    return subprocess.run([program], check=False, timeout=60).returncode


def test_the_resolver_of_a_packed_file_compiles_and_adds_decode(tmp_path: Path) -> None:
    path = packed(mixed_net(tmp_path / "m.tflite"), tmp_path / "net.tflite")
    made = write_c_array(path, Resolver(measured_arena(path)))
    assert made.resolver is not None
    text = made.resolver.read_text()
    assert [line.split(".")[1].split("(")[0] for line in text.splitlines() if ".Add" in line] == [
        "AddDecode",
        "AddConv2D",
        "AddDepthwiseConv2D",
    ]
    arena = TFLM.run(tflite_file.read(path), generated_inputs(tflite_file.read(path), 1))
    size = arena.facts["allocations"]["total"]
    assert f"g_net_arena_size = {size};" in text
    assert "no alternate decompression memory" in text
    assert run_resolver(tmp_path, made.resolver, "g_net") == 0


def test_the_resolver_of_a_plain_file_does_not_speak_of_decode(tmp_path: Path) -> None:
    made = write_c_array(mixed_net(tmp_path / "m.tflite"), Resolver(None))
    assert made.resolver is not None
    text = made.resolver.read_text()
    assert "ecod" not in text.replace("decompression", "")
    assert "not measured" in text
    assert run_resolver(tmp_path, made.resolver, "g_m") == 0


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

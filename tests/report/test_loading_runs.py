"""Code of snippets: run in the real runtimes, or compiled; that of Android is not compiled."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeprune.profiles.profile import load_profile
from edgeprune.report.loading.firmware import firmware_of
from edgeprune.report.loading.snippet import snippet
from edgeprune.targets.tflm.packing import measured_arena
from edgeprune.targets.vela.compiler import compile_for_npu, configuration
from edgeprune.tflite.c_array import write_c_array
from edgeprune.tflite.firmware_arena import planned_arena
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.op_resolver import methods_of
from tests.support.loading import (
    NAMES,
    RUNTIME_HEADERS,
    classifier,
    compile_all,
    scores_of,
    stand_in_headers,
    with_variables,
    write_parts,
)
from tests.support.micro_headers import Place, micro_headers
from tests.support.packing import mixed_net

assert sys.platform == "linux"
pytestmark = pytest.mark.slow


def run_python(path: Path, runtime: str) -> str:
    """Runs the snippet on a picture; returns what it prints."""
    profile = load_profile("xnnpack-x86").in_runtime(runtime)
    (script,) = write_parts(snippet(path, profile), path.parent)
    pixels = np.random.default_rng(3).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path.parent / "picture.png")
    done = subprocess.run(
        [sys.executable, script.name, "picture.png"],
        cwd=path.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    wanted = scores_of(pixels)
    label, score = done.stdout.split()
    assert label == NAMES[int(np.argmax(wanted))]
    assert float(score) == pytest.approx(float(wanted.max()), abs=0.11)
    return script.read_text(encoding="utf-8")


def test_the_python_snippet_names_the_class_of_a_picture_in_litert(tmp_path: Path) -> None:
    text = run_python(classifier(tmp_path / "m.tflite"), "LiteRT")
    assert "from ai_edge_litert.interpreter import Interpreter" in text


@pytest.mark.tflite_runtime
def test_the_python_snippet_names_the_class_of_a_picture_in_tflite_runtime(tmp_path: Path) -> None:
    text = run_python(classifier(tmp_path / "m.tflite"), "tflite-runtime")
    assert "from tflite_runtime.interpreter import Interpreter" in text


def test_more_labels_than_code_should_have_are_read_out_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.report.loading.snippet.MAX_LABELS", 2)
    text = run_python(classifier(tmp_path / "m.tflite"), "LiteRT")
    assert 'zipfile.ZipFile("m.tflite")' in text
    assert "ant" not in text


@pytest.mark.tflite_runtime
@pytest.mark.parametrize(
    ("device", "root"), [("raspberry-pi-5", "tflite"), ("edge-tpu", "tensorflow/lite")]
)
def test_the_cpp_snippet_calls_what_the_shipped_runtime_has(
    device: str, root: str, tmp_path: Path
) -> None:
    stand_in_headers(tmp_path, root, RUNTIME_HEADERS)
    path = classifier(tmp_path / "m.tflite")
    _, main = write_parts(snippet(path, device, language="cpp"), tmp_path)
    made = compile_all(tmp_path, [main], "-c")
    spec = find_spec("tflite_runtime")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (shipped,) = Path(spec.submodule_search_locations[0]).glob("*interpreter_wrapper*.so")
    called = {name for name in symbols(made, "-u") if "tflite" in name}
    assert len(called) >= 8
    assert called <= symbols(shipped, "-D", "--defined-only")


def symbols(path: Path, *options: str) -> set[str]:
    """Names that an object file or library has or calls."""
    command = shutil.which("nm")
    assert command, "the tests need nm: apt-get install binutils"
    done = subprocess.run(
        [command, *options, str(path)], check=True, capture_output=True, text=True
    )
    return {line.split()[-1] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("operators", "place"), [(1, "tflite"), (2, "tflite"), (2, "tflite::micro")]
)
def test_firmware_in_cpp_builds_with_the_array_and_runs(
    operators: int, place: Place, tmp_path: Path
) -> None:
    stand_in_headers(tmp_path, "tensorflow/lite", micro_headers(place))
    path = classifier(tmp_path / "net.tflite", operators=operators)
    _, main = write_parts(snippet(path, "cortex-m-tflm"), tmp_path)
    array = write_c_array(path, planned_arena(tflite_file.read(path)))
    made = compile_all(tmp_path, [main, array.source])
    assert subprocess.run([made], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("place", ["tflite", "tflite::micro"])
def test_firmware_of_a_network_for_streams_keeps_its_variables(
    place: Place, tmp_path: Path
) -> None:
    stand_in_headers(tmp_path, "tensorflow/lite", micro_headers(place))
    path = with_variables(tmp_path / "net.tflite")
    _, main = write_parts(snippet(path, "cortex-m-tflm"), tmp_path)
    assert "MicroResourceVariables::Create(allocator, 2);" in main.read_text(encoding="utf-8")
    array = write_c_array(path, planned_arena(tflite_file.read(path)))
    made = compile_all(tmp_path, [main, array.source])
    assert subprocess.run([made], check=False, timeout=60).returncode == 0


SHOW = """
#include <stdio.h>
#include "net_run.h"
int main(void) {
  static uint8_t pixels[48];
  static float scores[3];
  for (int i = 0; i < 48; ++i) pixels[i] = (uint8_t)(5 * i);
  if (net_setup() != 0) return 1;
  if (net_run(pixels, scores) != 0) return 1;
  printf("%.6f %.6f %.6f\\n", scores[0], scores[1], scores[2]);
  return 0;
}
"""


def test_firmware_in_c_quantizes_pixels_and_reads_scores_by_the_files_scales(
    tmp_path: Path,
) -> None:
    stand_in_headers(tmp_path, "tensorflow/lite", micro_headers())
    path = classifier(tmp_path / "net.tflite")
    _, _, source, main = write_parts(snippet(path, "cortex-m-tflm", language="c"), tmp_path)
    array = write_c_array(path, planned_arena(tflite_file.read(path)))
    compiler = shutil.which("gcc")
    assert compiler, "the tests need gcc: apt-get install gcc"
    for code in (main.read_text(encoding="utf-8"), SHOW):
        main.write_text(code, encoding="utf-8")
        flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{tmp_path}", "-c"]
        made = tmp_path / "main.o"
        subprocess.run([compiler, *flags, str(main), "-o", str(made)], check=True, timeout=120)
    program = compile_all(tmp_path, [source, array.source, made])
    done = subprocess.run([program], check=True, capture_output=True, text=True, timeout=60)
    pixels = 5 * np.arange(3)
    numbers = np.floor((pixels - 127.5) + 0.5 * np.sign(pixels - 127.5)) - 1
    wanted = (np.trunc(numbers) - 5) * 0.1
    assert [float(x) for x in done.stdout.split()] == pytest.approx(list(wanted), abs=0.11)


def test_the_arena_is_the_one_that_tflite_micro_takes(tmp_path: Path) -> None:
    path = mixed_net(tmp_path / "net.tflite")
    measured = measured_arena(path)
    assert measured is not None
    (size,) = re.findall(r"kArenaSize = (\d+);", snippet(path, "cortex-m-tflm").text)
    assert int(size) == measured.size


def test_the_operators_beside_the_npu_are_those_of_the_compiled_file(tmp_path: Path) -> None:
    profile = load_profile("ethos-u55")
    path = mixed_net(tmp_path / "net.tflite")
    compiled = tmp_path / "net_vela.tflite"
    compiled.write_bytes(compile_for_npu(path, configuration(profile.vela)).model)
    methods, _ = methods_of(tflite_file.read(compiled))
    assert "AddEthosU" in methods
    assert firmware_of(tflite_file.read(path), profile.vela).methods == methods
    text = snippet(path, profile).text
    assert [f"Add{name}" for name in re.findall(r"resolver\.Add(\w+)\(", text)] == list(methods)

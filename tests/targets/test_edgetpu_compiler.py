"""edgetpu_compiler: what it prints is read, and it is used where it is on the PATH.

The compiler cannot be had here, so a stand-in program prints what real ones printed. The figures of
the logs are those of google-coral/edgetpu issues 60, 189, 342 and 601, and of published notes on a
Dense layer of 256 x 256.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgeprune.profiles.profile import load_profile
from edgeprune.targets.checks import Case, Check
from edgeprune.targets.edgetpu_model import EDGETPU_MODEL
from edgeprune.targets.edgetpu_model.compiler import run_compiler
from edgeprune.targets.edgetpu_model.compiler_log import CompilerError, StatusRow, parse
from edgeprune.targets.measurement import Measurement
from edgeprune.targets.measuring import measure
from edgeprune.tflite.format.file import read
from tests.support.edgetpu_networks import Net8

assert sys.platform != "win32"

PROFILE = load_profile("edge-tpu")


def _memory(cached: str, remaining: str, streamed: str) -> str:
    return (
        f"On-chip memory used for caching model parameters: {cached}\n"
        f"On-chip memory remaining for caching model parameters: {remaining}\n"
        f"Off-chip memory used for streaming uncached model parameters: {streamed}\n"
        "Number of Edge TPU subgraphs: 1\n"
    )


DENSE_256 = (
    "Edge TPU Compiler version 16.0.384591198\n"
    "Started a compilation timeout timer of 180 seconds.\n\n"
    "Model compiled successfully in 10 ms.\n\n"
    + _memory("66.00KiB", "7.67MiB", "0.00B")
    + "Total number of operations: 1\n\n"
    "Operator                       Count      Status\n\n"
    "FULLY_CONNECTED                1          Mapped to Edge TPU\n"
    "Compilation child process completed within timeout period.\n"
    "Compilation succeeded! \n"
)
STREAMING = (
    "Edge TPU Compiler version 2.1.302470888\n\nModel compiled successfully in 12264 ms.\n\n"
    + _memory("6.86MiB", "7.75KiB", "1.22MiB")
    + "Total number of operations: 93\n"
)
LITTLE_MAPPED = (
    "Edge TPU Compiler version 15.0.340273435\n"
    + _memory("10.00KiB", "7.00MiB", "0.00B")
    + "Total number of operations: 155\n"
    "Number of operations that will run on Edge TPU: 2\n"
    "Number of operations that will run on CPU: 153\n\n"
    "Operator                       Count      Status\n\n"
    "TRANSPOSE                      70         Operation not supported\n"
    "FULLY_CONNECTED                1          More than one subgraph is not supported\n"
    "PAD                            1          Mapped to Edge TPU\n"
    "PAD                            17         More than one subgraph is not supported\n"
    "ADD                            10         More than one subgraph is not supported\n"
    "MEAN                           2          More than one subgraph is not supported\n"
    "CONV_2D                        35         More than one subgraph is not supported\n"
    "QUANTIZE                       1          Mapped to Edge TPU\n"
    "QUANTIZE                       1          Operation is otherwise supported, but not mapped "
    "due to some unspecified limitation\n"
    "DEPTHWISE_CONV_2D              17         More than one subgraph is not supported\n"
)
REFUSED = (
    "Edge TPU Compiler version 16.0.384591198\n"
    "Started a compilation timeout timer of 180 seconds.\n"
    "ERROR: Restored original execution plan after delegate application failure.\n"
    "Compilation failed: Compilation failed due to large activation tensors in model.\n"
    "Compilation child process completed within timeout period.\n"
    "Compilation failed! \n"
)
STOPPED = "Edge TPU Compiler version 14.1.317412892\n\nInternal compiler error. Aborting! \n"


def test_sizes_version_and_operators_are_read() -> None:
    log = parse(DENSE_256)
    assert (log.version, log.cached_bytes, log.streamed_bytes) == ("16.0.384591198", 67584, 0)
    assert log.remaining_bytes == round(7.67 * 2**20)
    assert (log.operators, log.mapped) == (1, 1)
    assert log.rows == (StatusRow("FULLY_CONNECTED", 1, "Mapped to Edge TPU"),)


def test_a_log_without_a_table_has_everything_mapped() -> None:
    log = parse(STREAMING)
    assert (log.cached_bytes, log.streamed_bytes) == (round(6.86 * 2**20), round(1.22 * 2**20))
    assert (log.remaining_bytes, log.operators, log.mapped) == (7936, 93, 93)


def test_operators_on_the_cpu_keep_the_compilers_reasons() -> None:
    log = parse(LITTLE_MAPPED)
    assert (log.mapped, log.operators, sum(row.count for row in log.rows)) == (2, 155, 155)
    assert log.rows[0] == StatusRow("TRANSPOSE", 70, "Operation not supported")


def test_windows_line_ends_do_not_matter() -> None:
    assert parse(LITTLE_MAPPED.replace("\n", "\r\n")) == parse(LITTLE_MAPPED)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REFUSED, "Compilation failed due to large activation tensors in model."),
        (STOPPED, "Internal compiler error. Aborting!"),
        ("", "it printed nothing"),
        ("what is this\n", "what is this"),
    ],
)
def test_a_refusal_says_what_the_compiler_said(text: str, reason: str) -> None:
    with pytest.raises(CompilerError, match=reason):
        parse(text)


def test_a_size_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(CompilerError, match="size that cannot be read: 'much'"):
        parse(DENSE_256.replace("66.00KiB", "much"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is alone on the PATH, with a model in it."""
    net = Net8()
    x = net.map8((1, 256))
    net.save(tmp_path / "dense.tflite", [x], [net.dense(x, 256)])
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def _stand_in(folder: Path, body: str) -> None:
    program = folder / "edgetpu_compiler"
    program.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}\n")
    program.chmod(0o755)


def _printing(folder: Path, text: str) -> None:
    """A stand-in that prints a log, and notes down how it was called."""
    note = folder / "called.json"
    _stand_in(
        folder,
        f"json.dump([sys.argv[1:], os.getcwd()], open({str(note)!r}, 'w'))\n"
        f"sys.stdout.write({text!r})",
    )


def _measured(folder: Path) -> Measurement:
    (found,) = measure([folder / "dense.tflite"], PROFILE)
    return found


def _checks(folder: Path) -> dict[str, Check]:
    case = Case(read(folder / "dense.tflite"), PROFILE, [], None)
    return {check.name: check for check in EDGETPU_MODEL.check(case)}


def test_a_compiler_on_the_path_is_used_and_the_model_stands_beside_it(folder: Path) -> None:
    _printing(folder, DENSE_256)
    found = _measured(folder)
    assert found.runtime == "edgetpu_compiler 16.0.384591198"
    assert found.memory == {"cached_bytes": 67584, "streamed_bytes": 0}
    assert (found.ops_on_device, found.ops_on_cpu, found.simulated) == (1, 0, True)
    assert f"predicts {256 * 260} bytes cached, 0 streamed, 1 operators" in found.conditions
    arguments, place = json.loads((folder / "called.json").read_text())
    assert arguments == ["-s", "-o", place, str(folder / "dense.tflite")]
    assert not Path(place).exists()
    assert EDGETPU_MODEL.readiness().detail == str(folder / "edgetpu_compiler")


def test_what_the_compiler_leaves_on_the_cpu_is_told_in_its_words(folder: Path) -> None:
    _printing(folder, LITTLE_MAPPED)
    found = _measured(folder)
    assert (found.ops_on_device, found.ops_on_cpu) == (2, 153)
    assert "TRANSPOSE x70: Operation not supported" in found.warnings[0]
    check = _checks(folder)["operators on the Edge TPU"]
    assert (check.ok, check.value, check.limit) == (True, 2, 155)
    assert "CONV_2D x35: More than one subgraph" in check.message


def test_parameters_that_the_compiler_streams_for_lack_of_room_fail(folder: Path) -> None:
    _printing(folder, STREAMING)
    check = _checks(folder)["fits on chip"]
    total = round(6.86 * 2**20) + round(1.22 * 2**20)
    assert (check.ok, check.value) == (False, total)
    assert check.limit == round(6.86 * 2**20) + 7936
    assert "Remove channels" in check.message


def test_constants_that_are_streamed_where_there_is_room_do_not_fail(folder: Path) -> None:
    _printing(folder, DENSE_256.replace("0.00B", "5.50KiB"))
    assert _checks(folder)["fits on chip"].ok


def test_a_table_that_stands_in_the_log_file_only_is_read(folder: Path) -> None:
    summary, table = LITTLE_MAPPED.split("Operator  ")
    _stand_in(
        folder,
        f"open('dense_edgetpu.log', 'w').write('Operator  ' + {table!r})\n"
        f"sys.stdout.write({summary!r})",
    )
    assert _measured(folder).ops_on_cpu == 153


def test_a_refused_model_is_a_failed_check_and_an_error_that_names_it(folder: Path) -> None:
    _printing(folder, REFUSED)
    with pytest.raises(CompilerError, match=r"dense.tflite: .*large activation tensors"):
        _measured(folder)
    (check,) = _checks(folder).values()
    assert not check.ok
    assert "large activation tensors" in check.message


def test_a_compiler_that_crashes_is_named_with_the_signal(folder: Path) -> None:
    _stand_in(folder, "os.kill(os.getpid(), 11)")
    with pytest.raises(CompilerError, match="crashed with SIGSEGV"):
        _measured(folder)


def test_a_compiler_that_does_not_end_is_killed_with_its_children(folder: Path) -> None:
    program = folder / "edgetpu_compiler"
    program.write_text(f"#!/bin/sh\n/bin/sleep 300 &\necho $! > {folder / 'pid'}\nwait\n")
    program.chmod(0o755)
    with pytest.raises(CompilerError, match="time limit of 3 s"):
        run_compiler(str(program), folder / "dense.tflite", time_limit_s=3)
    pid = (folder / "pid").read_text().strip()
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"

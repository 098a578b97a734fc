"""The parent of a command: a script does as the program does, with a child that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.cli.watched import needs_child
from edgeprune.core.work_note import parent_and_notes, working

assert sys.platform != "win32"

SCRIPT = """
import os, signal, subprocess, sys, tempfile, time
from edgeprune.cli import stopping, watched
from edgeprune.core.work_note import working
# A shell that starts programs in the background lets them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
if watched.needs_child(sys.argv[1:]):
    from edgeprune.cli import guard
    guard.TIME_TO_NOTICE_S = 0.3
    sys.exit(guard.run_in_child(sys.argv[1:]))
stopping.end_in_order_on_signals()
watched.watch_parent()
"""


def start(folder: Path, body: str, *arguments: str) -> subprocess.Popen[str]:
    script = folder / "program.py"
    script.write_text(SCRIPT + body)
    return subprocess.Popen(
        [sys.executable, str(script), *(arguments or ("export", "m.keras"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.parametrize("number", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"])
def test_a_crash_ends_with_2_and_says_what_was_being_done(tmp_path: Path, number: str) -> None:
    body = (
        "with working('Keras loaded other.keras'): pass\n"
        "with working('the converter made int8 of m'):\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
    )
    command = start(tmp_path, body)
    output, errors = command.communicate(timeout=60)
    assert (command.returncode, output) == (2, "")
    said = " ".join(errors.split())
    assert (
        f"export m.keras: TensorFlow or a runtime crashed in native code ({number}) while " in said
    )
    assert "while the converter made int8 of m. " in said


def test_a_child_that_crashed_in_a_part_is_started_again_without_it(tmp_path: Path) -> None:
    body = (
        "from pathlib import Path\n"
        "folder = Path(tempfile.gettempdir())\n"
        "for part in range(3):\n"
        "    crash = folder / f'crash-{part}'\n"
        "    if crash.exists():\n"
        "        print(part, 'crashed' in crash.read_text(), flush=True)\n"
        "        continue\n"
        "    (folder / 'under-way').write_text(str(part))\n"
        "    if part != 1: os.abort()\n"
        "sys.exit(1)\n"
    )
    command = start(tmp_path, body, "compare", "m.keras")
    output, errors = command.communicate(timeout=60)
    assert output.splitlines() == ["0 True", "0 True", "2 True"]
    assert (command.returncode, errors) == (1, "")


def test_a_crash_is_a_json_document_where_one_was_asked_for(tmp_path: Path) -> None:
    command = start(tmp_path, "os.abort()", "plan", "m.keras", "--json")
    output, _ = command.communicate(timeout=60)
    assert json.loads(output)["error"]["kind"] == "crash"


@pytest.mark.parametrize("code", [0, 1, 2, 141])
def test_the_childs_streams_and_exit_code_are_the_commands(tmp_path: Path, code: int) -> None:
    command = start(tmp_path, f"print('made', file=sys.stdout); sys.exit({code})")
    assert command.communicate(timeout=60) == ("made\n", "")
    assert command.returncode == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_child_that_receives_a_signal_ends_in_order(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    body = (
        "try:\n"
        "    print(tempfile.gettempdir(), flush=True); time.sleep(60)\n"
        "finally:\n"
        "    time.sleep(1); print('in order', flush=True)\n"
    )
    command = start(tmp_path, body)
    assert command.stdout is not None
    folder = command.stdout.readline().strip()
    assert Path(folder).is_dir()
    command.send_signal(number)
    output, _ = command.communicate(timeout=60)
    assert output == "in order\n"
    assert command.returncode == code
    assert not Path(folder).exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_a_finalizer_is_not_lost(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Python drops what is raised there; the command went on for a minute with a traceback."""
    body = (
        "class Thing:\n"
        "    def __del__(self):\n"
        "        print('deleted', flush=True); time.sleep(5)\n"
        "Thing()\n"
        "try:\n"
        "    time.sleep(60)\n"
        "finally:\n"
        "    print('in order', flush=True)\n"
    )
    command = start(tmp_path, body)
    assert command.stdout is not None
    assert command.stdout.readline() == "deleted\n"
    command.send_signal(number)
    output, errors = command.communicate(timeout=30)
    assert (output, command.returncode) == ("in order\n", code)
    assert "ignored" not in errors


def test_a_child_that_does_not_notice_a_signal_is_killed_with_all_that_it_started(
    tmp_path: Path,
) -> None:
    body = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '600'])\n"
        "print(tempfile.mkdtemp(), flush=True)\n"
        "time.sleep(600)\n"
    )
    command = start(tmp_path, body)
    assert command.stdout is not None
    folder = command.stdout.readline().strip()
    command.terminate()
    # The pipes end when the last process that holds them does.
    command.communicate(timeout=60)
    assert command.returncode == 143
    assert not Path(folder).exists()


def test_no_child_is_left_behind_by_a_parent_that_is_killed(tmp_path: Path) -> None:
    command = start(tmp_path, "print('begun', flush=True)\ntime.sleep(600)\n")
    assert command.stdout is not None
    assert command.stdout.readline() == "begun\n"
    command.kill()
    # The pipes end when the last process that holds them does.
    assert command.communicate(timeout=60) == ("", "")


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("export m.keras --device edge-tpu -o m.tflite", True),
        ("validate m.tflite --device edge-tpu --reference m.keras", True),
        ("validate m.tflite --device edge-tpu --reference=m.h5", True),
        ("validate m.tflite --device edge-tpu", False),
        ("inspect m.tflite", False),
        ("export --help", False),
        ("", False),
    ],
)
def test_only_commands_that_import_tensorflow_get_a_child(
    monkeypatch: pytest.MonkeyPatch, line: str, needed: bool
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "edgeprune", *line.split()])
    assert needs_child(line.split()) is needed


def test_a_command_line_that_is_not_this_programs_own_gets_no_child() -> None:
    assert not needs_child(["export", "m.keras", "--device", "edge-tpu"])


def test_a_process_that_nobody_watches_notes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for marker in ("", "1", "1:x", f"{os.getpid()}:0", f"{os.getppid()}:"):
        monkeypatch.setenv("EDGEPRUNE_CHILD_OF", marker)
        assert parent_and_notes() is None
        with working("nothing"):
            pass

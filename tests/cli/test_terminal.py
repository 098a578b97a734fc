"""What a person or a program sees of the command line, whatever its streams are."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner

from edgeprune.cli import cli, terminal
from edgeprune.cli.output import print_json
from edgeprune.cli.terminal import printable, progress_lines, shorten_middle
from edgeprune.core.grid import grid
from edgeprune.profiles.folder import profile_names
from tests.support.tiny_tflite import fully_connected

assert sys.platform != "win32"

EVIL = "\x1b]0;title\x07\x1b[2J\x1b[31m\x9b1m\u202e[/red]"
"""Sets a terminal's title, clears it, colours it and turns the text around."""
COMMAND = (sys.executable, "-m", "edgeprune")


def start(
    *arguments: str, redirections: str = "", folder: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs edgeprune in a shell that redirects its streams."""
    return subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirections}', "sh", *COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env={**os.environ, **variables},
    )


def on_terminal(*arguments: str, variables: Mapping[str, str]) -> tuple[int, bytes]:
    """Runs edgeprune on a terminal of its own; returns the exit code and what it showed."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**os.environ, "TERM": "xterm", **variables},
    ) as process:
        os.close(child)
        shown = b""
        try:
            while part := os.read(parent, 65536):
                shown += part
        except OSError:  # how Linux says that the other side is closed
            pass
        code = process.wait(120)
    os.close(parent)
    return code, shown


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A file whose every name steers the terminal, under a name that does too."""
    plain = fully_connected(tmp_path / "plain.tflite", np.eye(64, dtype=np.float32))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(plain.read_bytes()))
    for tensor in model.subgraphs[0].tensors:
        tensor.name = EVIL + tensor.name.decode()
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.frombuffer(
        json.dumps({"device": EVIL, "versions": {"edgeprune": EVIL}}).encode(), np.uint8
    )
    model.buffers.append(buffer)
    entry.name, entry.buffer = "edgeprune", len(model.buffers) - 1
    model.metadata = [entry]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / f"{EVIL.replace('/', '')}.tflite"
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.fixture(scope="module")
def wide() -> str:
    """The devices on 140 columns."""
    return start("devices", COLUMNS="140").stdout


@pytest.mark.parametrize("columns", ["", "abc", "0", "-5", "\u00b2", "99999999999999999999", "7.5"])
def test_a_number_of_columns_that_is_none_is_ignored(columns: str, wide: str) -> None:
    done = start("devices", COLUMNS=columns)
    assert (done.returncode, done.stdout, done.stderr) == (0, wide, "")


@pytest.mark.parametrize("columns", ["1", "20", "40", "0", "x"])
def test_names_of_devices_are_whole_on_a_narrow_terminal(columns: str) -> None:
    code, shown = on_terminal("devices", variables={"COLUMNS": columns, "NO_COLOR": "1"})
    assert code == 0, shown
    for name in profile_names():
        assert name in shown.decode()


BARS = """
from edgeprune.cli import terminal
with terminal.progress_bars() as tell:
    tell("a", "android-phone-2023: reconstructing block6d_project_conv/conv2d/" + "x" * 80, 3, 4)
    tell("b", "edge-tpu: validating", 1, 2)
"""


@pytest.mark.parametrize(
    ("columns", "kept"), [("40", " android-...xxxxxxxx "), ("80", " android-phone-202...xxx")]
)
def test_a_bar_and_its_time_stay_beside_a_long_name_on_a_narrow_terminal(
    columns: str, kept: str
) -> None:
    parent, child = pty.openpty()
    variables = {"TERM": "xterm", "COLUMNS": columns, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        [sys.executable, "-c", BARS], stdout=child, stderr=child, env={**os.environ, **variables}
    ) as process:
        os.close(child)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            while part := os.read(parent, 65536):
                shown += part
        assert process.wait(60) == 0
    os.close(parent)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= int(columns)
    (named, *_) = [line for line in lines if "..." in line]
    assert kept in named
    assert "0:00:0" in named
    assert "\u2501" in named


def test_long_work_is_reported_in_lines_where_nobody_watches() -> None:
    times = iter([0.0, 10.0, 31.0, 31.0, 40.0, 70.0, 70.0])
    written: list[str] = []
    tell = progress_lines(written.append, lambda: next(times))
    for what, done, total in (("a", 1, 4), ("b", 2, 4), ("c", 3, 4), ("validating", 0, 1)):
        tell("", what, done, total)
    assert written == ["b (2 of 4)", "validating"]


@pytest.mark.parametrize(
    ("width", "shown"), [(9, "abcdefghi"), (8, "abc...hi"), (3, "..."), (1, "."), (0, ""), (-4, "")]
)
def test_a_long_name_is_shortened_in_its_middle(width: int, shown: str) -> None:
    assert shorten_middle("abcdefghi", width) == shown


@pytest.mark.parametrize("columns", ["60", "100", "110", "120", "140", "200"])
def test_no_column_of_a_table_is_cut_off(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    words = "1.18x by instructions (arm64-emulated), 1.22x by modelled cycles of neoverse-n1"
    cells = ("android-phone-2023", "channels removed in 2 layers", "passed", *["0.5 / 0.514"] * 5)
    table = grid("t", ("=device", *map(str, range(8))), [(*cells, words)])
    terminal.show_grid(table)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert {line[-1] for line in lines} <= set("┓┃┩│┘")
    last = "".join(line.rstrip("│").rsplit("│", 1)[-1].strip() for line in lines[3:-1])
    assert last.replace(" ", "") == words.replace(" ", "")
    assert "android-phone-2023" in lines[3]


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("inspect", "gone.tflite"), "TfliteError", "gone.tflite"),
        (("inspect", "m.tflite", "--device", "gpu"), "ProfileError", "Unknown device 'gpu'"),
        (("encode", "m.tflite", "--device", "edge-tpu"), "UsageError", "'-o'"),
        (("inspct",), "UsageError", "Did you mean 'inspect'?"),
        (("--bogus",), "UsageError", "--bogus"),
        (("measure", "m.tflite", "--device", "edge-tpu", "--target", "gpu"), "TargetError", "gpu"),
    ],
)
def test_an_error_is_a_json_document_where_one_was_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    kind: str,
    said: str,
) -> None:
    fully_connected(tmp_path / "m.tflite", np.eye(8, dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 2, done.output
    document = json.loads(done.stdout)
    assert document.keys() == {"error"}
    assert document["error"].keys() == {"kind", "message"}
    assert document["error"]["kind"] == kind
    assert said in document["error"]["message"]
    assert said in done.stderr
    plain = CliRunner().invoke(cli, list(arguments))
    assert (plain.exit_code, plain.stdout) == (2, "")


def test_a_number_that_is_not_finite_is_null_in_a_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"a": [float("nan"), 1.5, (float("inf"),)], "b": "NaN"})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5, [None]], "b": "NaN"}


def test_nothing_that_a_file_holds_steers_the_terminal(hostile: Path) -> None:
    folder, name = hostile.parent, hostile.name
    for arguments in (
        ("inspect", name),
        ("inspect", name, "--device", "xnnpack-x86"),
        ("encode", name, "--device", "xnnpack-x86", "-o", f"out-{name}"),
        ("densify", name, "-o", f"dense-{name}"),
        ("inspect", f"gone-{name}"),
        ("inspect", name, "--device", EVIL),
        ("validate", name, "--device", EVIL + ".toml"),
        ("encode", name, "--device", "xnnpack-x86", "-o", f"no{EVIL}/o.tflite"),
        ("measure", name, "--device", "xnnpack-x86", "--target", EVIL),
        (EVIL,),
        ("inspect", "--" + EVIL),
    ):
        done = start(*arguments, folder=folder)
        said = done.stdout + done.stderr
        assert done.returncode in {0, 2}, said
        assert "Traceback" not in said
        assert "\\x1b]0;title\\x07" in re.sub(r"[\s│]", "", said), said
        assert all(c.isprintable() or c == "\n" for c in said), repr(said)


def test_an_ascii_terminal_gets_ascii(hostile: Path) -> None:
    model = hostile.rename(hostile.with_name("na\u00efve \u2192.tflite"))
    for variables in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ):
        for arguments in (
            ("devices",),
            ("targets",),
            ("inspect", str(model)),
            ("inspect", f"gone-{model.name}"),
            ("densify", str(model), "-o", str(hostile.with_name("\u00e9.tflite"))),
            ("\u00e9",),
            ("--help",),
        ):
            code, shown = on_terminal(*arguments, variables={**variables, "COLUMNS": "60"})
            assert code in {0, 2}
            assert shown.isascii(), shown
            assert b"Traceback" not in shown
    assert printable("a \u2192 b \u2026 70 \u00b0C \u00e9", "ascii") == "a -> b ... 70 deg C \\xe9"
    assert printable("a \u2192 b", "utf-8") == "a \u2192 b"


def test_file_names_that_are_no_text_are_shown() -> None:
    command = [*map(os.fsencode, COMMAND), b"inspect", b"caf\xe9.tflite"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith(b"Error: caf\\udce9.tflite: expected a .tflite file.")


@pytest.mark.parametrize("arguments", ["devices", "devices --json", "--help", "targets"])
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing_ends_the_program_quietly(
    arguments: str, redirection: str
) -> None:
    done = start(*arguments.split(), redirections=redirection)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_an_output_that_nobody_reads_on_ends_the_program_quietly() -> None:
    """The reader is gone before the program begins to write."""
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (("devices",), ("devices", "--json"), ("devices", "--help")):
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, check=False, timeout=120
        )
        assert (done.returncode, done.stderr) == (1, b"")
    os.close(writing)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_lost_errors_do_not_stop_the_work(tmp_path: Path, redirection: str) -> None:
    fully_connected(tmp_path / "m.tflite", np.eye(64, dtype=np.float32))
    arguments = ("encode", "m.tflite", "--device", "xnnpack-x86", "-o", "o.tflite", "--json")
    done = start(*arguments, redirections=redirection, folder=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["output"] == "o.tflite"
    assert (tmp_path / "o.tflite").read_bytes()[4:8] == b"TFL3"
    done = start("inspect", "gone.tflite", redirections=redirection, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_no_output_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library prints to descriptor 1 would go into the file."""
    code = (
        "import os, sys\n"
        "from edgeprune.cli.streams import open_streams\n"
        "open_streams()\n"
        f"file = open({str(tmp_path / 'out')!r}, 'w')\n"
        "sys.exit(file.fileno() < 3)"
    )
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        command = ["/bin/sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", code]
        assert subprocess.run(command, check=False, timeout=60).returncode == 0, closed


def test_a_slow_reader_of_a_pipe_that_does_not_wait_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    code = (
        "import sys\n"
        "from edgeprune.cli.streams import flushed, open_streams\n"
        "open_streams()\n"
        "flushed(lambda: sys.stdout.write('x' * 1_000_000))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=writing) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            assert file.read() == b"x" * 1_000_000
        assert process.wait(60) == 0

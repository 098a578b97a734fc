"""Boards that say anything but what they should: each is an error of its own, in a few words."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgeprune.cli import cli
from edgeprune.core.errors import EdgepruneError, TargetError
from edgeprune.targets.child import WorkerError
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.measuring import measure, measure_each
from edgeprune.targets.ssh.connection import CLIENT_VARIABLE
from tests.support import hostile_board
from tests.support.hostile_board import MARK, answer, changed, outputs, promised, without, zeros
from tests.support.tiny_tflite import fully_connected

assert sys.platform == "linux"

DEEP = b'{"a":' * 100_000

PHASES = ("login", "describe", "run", "time")
Say = Callable[[str, "bytes | str"], None]


def short(value: object) -> str:
    """An id of a test that the environment of a program can hold."""
    return str(value)[:30] if isinstance(value, str) else type(value).__name__


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return fully_connected(tmp_path / "m.tflite", np.eye(64, dtype=np.float32))


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Sets what the board does in a phase: a deed, or bytes that it writes before it ends."""

    def set_up(phase: str, what: bytes | str) -> None:
        if isinstance(what, bytes):
            (tmp_path / "said").write_bytes(what)
            what = str(tmp_path / "said")
        monkeypatch.setenv("HOSTILE_AT", phase)
        monkeypatch.setenv("HOSTILE", what)

    monkeypatch.setenv(CLIENT_VARIABLE, f"{sys.executable} -I -S {hostile_board.__file__}")
    monkeypatch.setattr("edgeprune.targets.timing.PROCESSES", 1)
    return set_up


def measured(model: Path) -> Measurement:
    return measure([model], "xnnpack-arm64", target="ssh:board")[0]


def refusal(model: Path) -> str:
    with pytest.raises(EdgepruneError) as caught:
        measured(model)
    said = str(caught.value)
    assert "board" in said or str(model) in said
    assert len(said) < 3000
    return said


def test_a_board_that_answers_well_is_measured(model: Path, say: Say) -> None:
    say("never", b"")
    found = measured(model)
    assert found.rounds_ms == ((1.0, 1.1),)
    assert found.machine["board"] == "Stand-in 4"
    assert found.conditions.startswith("Stand-in 4, Cortex-A72, 4 cores,")


@pytest.mark.parametrize("phase", ["login", "run"])
@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b"{}", DEEP, b"NaN", b"9" * 6000),
        b'{"python": 1}',
        b'{"code": 0}',
        b'{"code": "0", "errors": [], "files": {}}',
    ],
    ids=short,
)
def test_a_line_that_is_no_reply_is_refused(model: Path, say: Say, phase: str, line: bytes) -> None:
    say(phase, MARK + line + b"\n")
    assert "expected a reply of edgeprune's own program there. Received: " in refusal(model)


@pytest.mark.parametrize(
    ("header", "received"),
    [
        ({"files": [["result.json", -1]]}, "Received: -1"),
        ({"files": [["result.json", 1 << 60]]}, "Received: 1152921504606846976"),
        ({"files": [["outputs.npz", 1 << 30]]}, "Received: 1073741824"),
        ({"files": [["result.json", 1.5]]}, "'files.0.1'"),
        ({"files": [["result.json", "2"]] * 2}, "must be unique"),
        ({"files": [["../../etc/passwd", 2]]}, "'files.0.0'"),
        ({"files": []}, "result.json is missing"),
        ({"files": [["result.json"]]}, "'files.0.1'"),
        ({"code": 10**30}, "'code'"),
        ({"code": 1.5}, "'code'"),
        ({"errors": None}, "'errors'"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_a_reply_of_wrong_values_is_refused(
    model: Path, say: Say, header: dict[str, object], received: str
) -> None:
    say("run", promised(**header))
    assert received in refusal(model)


@pytest.mark.parametrize(
    ("phase", "reply", "received"),
    [
        ("describe", answer("describe", b"{"), "do not read as its results"),
        ("describe", answer("describe", DEEP), "do not read as its results"),
        ("describe", answer("describe", b"[]"), "Input should be a valid dict"),
        ("describe", without("describe", "runtimes"), "'runtimes' is missing"),
        ("describe", changed("describe", runtimes=["LiteRT"]), "'runtimes'"),
        ("describe", changed("describe", runtimes={"LiteRT": None}), "'runtimes.LiteRT'"),
        ("describe", changed("describe", cpu="x" * 100_000), "'cpu'"),
        ("describe", changed("describe", cores=-4), "'cores'"),
        ("run", changed("run", machine=[]), "'machine'"),
        ("run", changed("run", machine={}), "'machine.board' is missing"),
        ("run", changed("run", temperature_c=[1]), "'temperature_c.1'"),
        ("run", changed("run", output_scales=[]), "other than 1 outputs"),
        ("run", changed("run", output_scales=[float("nan")]), "'output_scales.0'"),
        ("run", changed("run", runtime=None), "'runtime'"),
        ("run", answer("run", archive=b""), "other than 1 outputs"),
        ("run", answer("run", archive=b"PK no archive"), "do not read as its results"),
        ("run", answer("run", archive=zeros()[:-30]), "do not read as its results"),
        ("run", answer("run", archive=outputs(np.array(["a"]))), "no arrays of numbers"),
        ("run", answer("run", archive=outputs(np.float32(1))), "no arrays of numbers"),
        (
            "run",
            answer("run", archive=outputs(np.zeros((1, 1 << 20)), compressed=True)),
            "arrays that are compressed",
        ),
        ("time", changed("time", samples_ms=[]), "not as many times"),
        ("time", changed("time", samples_ms=[[]]), "'samples_ms.0'"),
        ("time", changed("time", samples_ms=[[1.0], [1.0]]), "not as many times"),
        ("time", changed("time", samples_ms=[[0.0]]), "'samples_ms.0.0'"),
        ("time", changed("time", samples_ms=[[-1.0]]), "'samples_ms.0.0'"),
        ("time", changed("time", samples_ms=[[float("inf")]]), "'samples_ms.0.0'"),
        ("time", changed("time", samples_ms=[["1 ms"]]), "'samples_ms.0.0'"),
        ("time", changed("time", samples_ms=None), "'samples_ms'"),
        ("time", changed("time", affinity="0"), "'affinity'"),
    ],
    ids=short,
)
def test_results_of_a_wrong_form_are_refused(
    model: Path, say: Say, phase: str, reply: bytes, received: str
) -> None:
    say(phase, reply)
    assert received in refusal(model)


def test_a_signal_that_nobody_knows_is_a_crash_all_the_same(model: Path, say: Say) -> None:
    say("run", promised(code=-99))
    with pytest.raises(WorkerError, match="it crashed with signal 99"):
        measured(model)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_connection_that_is_cut_anywhere_is_an_error(
    model: Path, say: Say, phase: str, share: float
) -> None:
    whole = MARK + b'{"python": "x"}\n' if phase == "login" else answer(phase)
    say(phase, whole[: int(share * len(whole))])
    said = refusal(model)
    assert "the connection broke" in said or "expected a reply" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "deed"),
    [
        *(("run", deed) for deed in (*hostile_board.ENDLESS, "endless errors")),
        *(("login", deed) for deed in ("endless greeting", "endless line")),
        *((phase, "silent") for phase in PHASES),
    ],
)
def test_a_board_that_never_ends_is_left_in_time_and_fills_no_memory(
    model: Path, say: Say, monkeypatch: pytest.MonkeyPatch, phase: str, deed: str
) -> None:
    for limit in ("LOGIN_LIMIT_S", "PATIENCE_S"):
        monkeypatch.setattr(f"edgeprune.targets.ssh.connection.{limit}", 1.0)
    for limit in ("_TIME_LIMIT_S", "_DESCRIPTION_LIMIT_S"):
        monkeypatch.setattr(f"edgeprune.targets.ssh.target.{limit}", 0.5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    say(phase, deed)
    said = refusal(model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    if deed in {"silent", "endless errors"}:
        assert "the connection was ended" in said


def test_a_board_that_takes_nothing_is_left_in_time(
    model: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.targets.ssh.connection.PATIENCE_S", 0.5)
    monkeypatch.setattr("edgeprune.targets.ssh.connection.SLOWEST", 1e6)
    monkeypatch.setattr("edgeprune.targets.ssh.target._DESCRIPTION_LIMIT_S", 0.5)
    say("never", "deaf")
    assert "the connection was ended" in refusal(model)


def test_what_a_board_says_steers_no_terminal_and_stops_no_other_board(
    model: Path, say: Say
) -> None:
    say("time", MARK + b'{"\\u001b[31m": 1}\n')
    names = ["ssh:one", "ssh:two", "host"]
    outcomes = measure_each([model], "xnnpack-x86", names, Settings())
    assert [isinstance(outcome.error, TargetError) for outcome in outcomes] == [True, True, False]
    assert outcomes[2].measurements
    command = ["measure", str(model), "--device", "xnnpack-arm64", "--target", "ssh:one", "--json"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 2
    assert "unknown key '\\x1b[31m'" in done.stderr
    assert "\x1b" not in done.output
    assert json.loads(done.stdout)["error"]["kind"] == "TargetError"

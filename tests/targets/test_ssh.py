"""Boards over SSH, each by a real OpenSSH server and client on the loopback interface."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import TargetError
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.child import WORKER, WorkerError, worker_model
from edgeprune.targets.find import find_target
from edgeprune.targets.host import installed_runtimes
from edgeprune.targets.measurement import Settings
from edgeprune.targets.measuring import default_target, measure, measure_each
from edgeprune.targets.ssh.address import Address
from edgeprune.targets.ssh.connection import BOARD, CLIENT_VARIABLE, Session
from edgeprune.targets.ssh.failure import explain_failure
from edgeprune.tflite.format import file as tflite_file
from tests.support.runtimes import RUNTIMES
from tests.support.ssh_server import Server, ssh_server
from tests.support.states import run_alone_and_in_a_row, run_stream
from tests.support.tiny_tflite import fully_connected
from tests.targets.test_host import stand_in

assert sys.platform == "linux"

WEIGHTS = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
SLOW = np.ones((4096, 4096), np.float32)
"""About 5 ms each: timing two such files takes long enough to interfere with."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture
def board(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, with a client that knows it, and short measurements."""
    monkeypatch.setenv(CLIENT_VARIABLE, server.client())
    monkeypatch.setattr("edgeprune.targets.timing.PROCESSES", 2)
    return server


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return fully_connected(tmp_path / "m.tflite", WEIGHTS)


def wrapped_python(tmp_path: Path, packages: Path) -> str:
    """A command that starts this Python with other packages in front."""
    command = tmp_path / "python-with-packages"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} "$@"\n')
    command.chmod(0o755)
    return str(command)


def bare_python(tmp_path: Path, *packages: str) -> str:
    """A Python without packages, but for some that are linked into it."""
    folder = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    (site,) = folder.glob("lib/python*/site-packages")
    for package in packages:
        (site / package).symlink_to(Path(np.__file__).parents[1] / package)
    return str(folder / "bin/python")


def wait_until(condition: Callable[[], object], limit_s: float = 300) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_timing(server: Server) -> bool:
    """Whether the worker is there and has its inputs of two files."""
    return bool(list(server.temporary.glob("*/inputs1.npz")))


def test_a_board_is_measured_as_the_host_is(board: Server, model: Path) -> None:
    first, second = measure(
        [model, model],
        "xnnpack-arm64",
        target="ssh:board",
        board_python=sys.executable,
        threads=2,
        affinity=[0],
    )
    assert board.left_behind(0) == []
    assert (first.target, first.simulated, first.stand_in) == ("ssh:board", False, False)
    assert first.runtime.startswith(f"{RUNTIMES[0]} ")
    assert first.latency_ms is not None
    assert first.latency_ms.median is not None
    assert first.latency_ms.ci95 is not None
    assert len(first.rounds_ms) == 2
    assert second.speedup is not None
    assert first.machine["affinity"] == [0]
    assert first.machine.keys() >= {"board", "cpu", "cores", "governor", "python"}
    assert first.machine["temperature_c"].keys() == {"before", "after"}
    assert "2 thread(s) on processors 0" in first.conditions


def test_an_unknown_host_key_is_refused_and_never_added(
    board: Server, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the user's own configuration would add it."""
    known = tmp_path / "known"
    client = board.configuration(
        "unknown-host",
        f"IdentityFile {board.folder / 'user_key'}",
        f"UserKnownHostsFile {known}",
        "StrictHostKeyChecking accept-new",
    )
    monkeypatch.setenv(CLIENT_VARIABLE, client)
    with pytest.raises(TargetError, match=r"not known, and edgeprune adds none.*: ssh board \("):
        measure([model], "xnnpack-arm64", target="ssh:board")
    assert not known.exists()


def test_a_changed_host_key_is_an_error_of_its_own(
    board: Server, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = tmp_path / "known"
    other = (board.folder / "wrong_key.pub").read_text()
    known.write_text(f"[127.0.0.1]:{board.port} {other}")
    client = board.configuration("changed-host", f"UserKnownHostsFile {known}")
    monkeypatch.setenv(CLIENT_VARIABLE, client)
    with pytest.raises(TargetError, match="not the one that is known.*ssh-keygen -R"):
        measure([model], "xnnpack-arm64", target="ssh:board")


def test_a_key_that_the_board_does_not_accept_says_how_to_copy_one(
    board: Server, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = board.configuration(
        "wrong-key",
        f"IdentityFile {board.folder / 'wrong_key'}",
        f"UserKnownHostsFile {board.folder / 'known_hosts'}",
    )
    monkeypatch.setenv(CLIENT_VARIABLE, client)
    with pytest.raises(TargetError, match=r"accepts none of your keys.*ssh-copy-id.*\(.*denied"):
        measure([model], "xnnpack-arm64", target="ssh:board")


@pytest.mark.usefixtures("board")
def test_a_board_that_does_not_answer_is_an_error(model: Path) -> None:
    with pytest.raises(TargetError, match=r"board:1: .*cannot be reached.*ssh -p 1 board"):
        measure([model], "xnnpack-arm64", target="ssh:board:1")


@pytest.mark.parametrize(
    ("python", "said"),
    [
        ("/no/such/python", "expected Python 3.7 or later there, as '/no/such/python'"),
        ("/bin/true", "the connection broke"),
    ],
)
@pytest.mark.usefixtures("board")
def test_a_command_that_is_no_python_is_an_error(model: Path, python: str, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        measure([model], "xnnpack-arm64", target="ssh:board", board_python=python)


def test_a_python_without_runtime_says_what_installs_one(
    board: Server, model: Path, tmp_path: Path
) -> None:
    python = bare_python(tmp_path, "numpy", "numpy.libs")
    with pytest.raises(TargetError, match=r"no runtime.*-m pip install ai-edge-litert.*PATH"):
        measure([model], "xnnpack-arm64", target="ssh:board", board_python=python)
    assert board.left_behind(0) == []


def test_a_python_without_numpy_says_what_installs_it(
    board: Server, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TargetError, match=r"no NumPy.*-m pip install numpy"):
        measure([model], "xnnpack-arm64", target="ssh:board", board_python=bare_python(tmp_path))
    assert board.left_behind(0) == []


def test_a_runtime_that_crashes_on_the_board_is_a_failed_check(
    board: Server, model: Path, tmp_path: Path
) -> None:
    packages = stand_in(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    python = wrapped_python(tmp_path, Path(packages))
    with pytest.raises(WorkerError, match=r"m\.tflite: tflite-runtime .*crashed with SIGSEGV"):
        measure([model], "xnnpack-arm64", target="ssh:board", board_python=python)
    assert board.left_behind(0) == []


@pytest.mark.slow
def test_a_runtime_that_hangs_on_the_board_is_ended(
    board: Server, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.targets.ssh.target._TIME_LIMIT_S", 1)
    packages = stand_in(tmp_path, "import time; time.sleep(600)")
    python = wrapped_python(tmp_path, Path(packages))
    with pytest.raises(WorkerError, match="did not end within its time limit of 1 s"):
        measure([model], "xnnpack-arm64", target="ssh:board", board_python=python)
    assert board.left_behind(0) == []


def test_a_connection_that_is_cut_is_an_error_and_leaves_nothing(
    board: Server, tmp_path: Path
) -> None:
    """The session's processes are killed while the worker, the same file as here, runs."""
    slow = fully_connected(tmp_path / "slow.tflite", SLOW)
    found: list[bytes] = []

    def cut() -> None:
        wait_until(lambda: is_timing(board))
        found.extend(path.read_bytes() for path in board.temporary.glob("*/worker.py"))
        assert board.cut_connections()

    helper = threading.Thread(target=cut)
    helper.start()
    with pytest.raises(TargetError, match=r"board: the connection broke \(.+\).*Try: ssh board"):
        measure([slow, slow], "xnnpack-arm64", target="ssh:board", board_python=sys.executable)
    helper.join()
    assert found == [WORKER.read_bytes()]
    assert board.left_behind() == []
    assert workers_of(board) == []


def workers_of(server: Server) -> list[str]:
    """Processes whose current folder is one of a session's."""
    folders = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            folders.append(str(link.readlink()))
        except OSError:
            continue
    return [folder for folder in folders if folder.startswith(str(server.temporary))]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_program_that_is_stopped_leaves_nothing(
    board: Server, tmp_path: Path, number: signal.Signals
) -> None:
    slow = fully_connected(tmp_path / "slow.tflite", SLOW)
    # What a shell starts in the background is told to ignore SIGINT, and so are its children.
    heeding = ["env", "--default-signal=INT", sys.executable]
    command = [*heeding, "-m", "edgeprune", "measure", str(slow), str(slow)]
    options = ["--device", "xnnpack-arm64", "--target", "ssh:board"]
    environment = {**os.environ, "EDGEPRUNE_BOARD_PYTHON": sys.executable}
    program = subprocess.Popen(
        [*command, *options],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: is_timing(board))
    program.send_signal(number)
    assert program.wait(20) != 0
    assert board.left_behind() == []
    assert workers_of(board) == []


def test_what_a_killed_session_left_goes_with_the_next(board: Server) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    abandoned = board.temporary / f"edgeprune-board-{ended.pid}-abc"
    alive = board.temporary / f"edgeprune-board-{os.getpid()}-abc"
    other = board.temporary / "somebody-else"
    for folder in (abandoned, alive, other):
        folder.mkdir()
    with Session(Address.parse("board"), sys.executable):
        assert not abandoned.exists()
    assert board.left_behind(0) == [alive.name, other.name]
    alive.rmdir()
    other.rmdir()


@pytest.mark.slow
def test_a_login_that_greets_does_not_disturb(
    board: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (board.folder / "wrong_key.pub").read_text()
    keys = board.folder / "authorized_keys"
    before = keys.read_text()
    keys.write_text(f'{before}command="echo Welcome; eval \\"$SSH_ORIGINAL_COMMAND\\"" {key}')
    client = board.configuration(
        "greeting",
        f"IdentityFile {board.folder / 'wrong_key'}",
        f"UserKnownHostsFile {board.folder / 'known_hosts'}",
    )
    monkeypatch.setenv(CLIENT_VARIABLE, client)
    with Session(Address.parse("board"), sys.executable) as session:
        facts = session.run({"kind": "describe", "models": []}, []).facts
    keys.write_text(before)
    assert set(facts["runtimes"]) >= {*RUNTIMES, "TensorFlow"}


@pytest.mark.usefixtures("board")
def test_boards_work_at_the_same_time_and_one_that_fails_stops_no_other(model: Path) -> None:
    begun = threading.Barrier(2, timeout=300)
    seen: list[str] = []

    def tell(who: str, what: str, done: int, total: int) -> None:
        if what.endswith("m.tflite"):
            begun.wait()  # breaks unless both have begun before either has ended
        if done == total:
            seen.append(who)

    names = ["ssh:board", "ssh:board:1", "ssh:other-board"]
    settings = Settings(python=sys.executable)
    outcomes = measure_each([model], "xnnpack-arm64", names, settings, tell)
    assert [outcome.target for outcome in outcomes] == names
    assert [len(outcome.measurements) for outcome in outcomes] == [1, 0, 1]
    assert isinstance(outcomes[1].error, TargetError)
    assert sorted(seen) == ["ssh:board", "ssh:other-board"]


@pytest.mark.slow
@pytest.mark.usefixtures("board")
def test_validate_compares_the_outputs_of_a_board(model: Path, tmp_path: Path) -> None:
    settings = Settings(python=sys.executable)
    verdict = validate(model, "xnnpack-x86", targets=["ssh:board"], settings=settings)
    names = [check.name for check in verdict.checks if check.name.endswith("on board)")]
    assert [name.split(" ")[0] for name in names] == ["runs", "finite", "outputs"]
    assert verdict.ok
    other = fully_connected(tmp_path / "other.tflite", WEIGHTS + 1)
    wrong = validate(
        model, "xnnpack-x86", reference=other, targets=["ssh:board"], settings=settings
    )
    failed = [check.name for check in wrong.checks if not check.ok]
    assert f"outputs ({RUNTIMES[0]} {installed_runtimes()[RUNTIMES[0]]} on board)" in failed


@pytest.mark.slow
@pytest.mark.usefixtures("board")
@pytest.mark.parametrize("runtime", ["LiteRT", "TensorFlow"])
def test_every_runtime_of_a_board_computes_what_numpy_computes(model: Path, runtime: str) -> None:
    """TensorFlow brings an interpreter of its own, for boards that have no other."""
    job = {"kind": "run", "runtime": runtime, "threads": 1, "delegates": True}
    x = np.random.default_rng(1).normal(size=(2, 64)).astype(np.float32)
    with Session(Address.parse("board"), sys.executable) as session:
        models = [worker_model(tflite_file.read(model))]
        reply = session.run({**job, "models": models}, [[x]])
    np.testing.assert_allclose(reply.outputs[0], x @ WEIGHTS.T, rtol=1e-4, atol=1e-4)
    assert reply.facts["runtime"].startswith(f"{runtime} 2.")


@pytest.mark.slow
@pytest.mark.usefixtures("board")
def test_samples_follow_each_other_on_a_board_in_a_stream_and_nowhere_else(tmp_path: Path) -> None:
    job = {"kind": "run", "runtime": "LiteRT", "threads": 1, "delegates": True}
    with Session(Address.parse("board"), sys.executable) as session:

        def run(graph: tflite_file.Graph, x: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
            return session.run({**job, "models": [worker_model(graph)]}, [x]).outputs[0]

        np.testing.assert_array_equal(*run_alone_and_in_a_row(run, tmp_path))
        np.testing.assert_allclose(*run_stream(run, tmp_path), atol=0.16)


def test_a_connection_that_falls_silent_ends_the_board_side(tmp_path: Path) -> None:
    """As when the network is gone, and nobody tells the board."""
    code = BOARD.read_text()
    assert "SILENCE_S = 60.0" in code
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code.replace("SILENCE_S = 60.0", "SILENCE_S = 0.3")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline().startswith(b"edgeprune-board {")
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        assert process.wait(20) == 0
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_board_is_used_only_when_it_is_named() -> None:
    assert default_target(load_profile("xnnpack-arm64")) is None
    state = find_target("ssh").readiness()
    assert not state.ready
    assert state.remedy == "--target ssh:[USER@]HOST[:PORT]"
    with pytest.raises(TargetError, match="no board is named"):
        measure(["m.tflite"], "xnnpack-arm64", target="ssh")


def test_a_missing_client_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CLIENT_VARIABLE, "no-such-ssh -F x")
    with pytest.raises(TargetError, match="not ready: no 'no-such-ssh'.*openssh-client"):
        measure(["m.tflite"], "xnnpack-arm64", target="ssh:board")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("board", "board", None),
        ("pi@board.local:2222", "pi@board.local", 2222),
        ("192.168.1.7:22", "192.168.1.7", 22),
        ("pi@[fe80::1]:22", "pi@fe80::1", 22),
        ("[::1]", "::1", None),
    ],
)
def test_an_address_has_a_user_a_host_and_a_port(text: str, host: str, port: int | None) -> None:
    found = Address.parse(text)
    assert (found.host, found.port) == (host, port)
    assert found.arguments()[-2:] == ["--", host]


@pytest.mark.parametrize(
    "text", ["-oProxyCommand=x", "a@-oX", "host:", "host:0", "host:99999", "a b", "[::1", "a@b@c"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(TargetError, match="Target 'ssh': expected"):
        find_target(f"ssh:{text}")


@given(st.text("-a@:[]0 \n", min_size=1, max_size=12))
def test_no_address_becomes_an_option_of_ssh(text: str) -> None:
    try:
        found = Address.parse(text)
    except TargetError:
        return
    assert not found.host.startswith("-")
    assert not any(part.isspace() for part in found.host)


@pytest.mark.parametrize(
    ("code", "said", "advice"),
    [
        (255, "ssh: Could not resolve hostname pi: Name or service not known", "cannot be reached"),
        (255, "ssh: connect to host pi port 22: No route to host", "cannot be reached"),
        (255, "Connection to pi closed by remote host.", "the connection broke"),
        (127, "bash: line 1: python3: command not found", "expected Python 3.7 or later"),
        (1, "SyntaxError: future feature annotations is not defined", "expected Python 3.7"),
        (1, "", "the connection broke"),
    ],
)
def test_every_way_to_fail_says_what_to_do(code: int, said: str, advice: str) -> None:
    message = explain_failure(Address("pi", 22), "python3", code, said)
    assert advice in message
    assert message.startswith("pi:22: ")
    assert said.strip(".") in message


@pytest.mark.parametrize("path", [WORKER, BOARD])
def test_what_runs_on_a_board_needs_python_3_7_and_no_package_but_numpy(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 7))
    nodes = list(ast.walk(tree))
    modules = [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    modules += [
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    ]
    imported = {module.split(".")[0] for module in modules}
    assert imported - set(sys.stdlib_module_names) == ({"numpy"} if path == WORKER else set())
    vermin = shutil.which("vermin", path=str(Path(sys.executable).parent)) or "vermin"
    command = [vermin, "-t=3.7-", "--no-tips", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout

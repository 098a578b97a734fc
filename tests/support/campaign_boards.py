"""Boards that answer badly: `measure` ends with a result or an error in words, in bounded memory.

A case is one connection to `hostile_board` that answers well up to some job, and then with a
damaged reply or without an end. Boards that say nothing are in the tests alone, since the
limits on silence are minutes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.targets.ssh.connection import CLIENT_VARIABLE
from tests.support import hostile_board
from tests.support.campaign_outcome import LONGEST_S, MOST_BYTES, Outcome
from tests.support.hostile_board import ENDLESS, FACTS, answer, promised
from tests.support.tiny_tflite import fully_connected

assert sys.platform == "linux"

from tests.support.campaign_kills import MARK, end_all, survivors  # noqa: E402

KILLED_AFTER_S = 60.0
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1 << 63, 10**400, 1.5, float("nan"), float("inf"), "", "x" * 10_000),
    *("\x1b[31mred", "\0", [], [[]], {}, {"a": {"b": []}}, [None], [1, "2"]),
)


def cases(folder: Path, seed: int, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Runs cases one behind the other; yields how each ended."""
    model = fully_connected(folder / "m.tflite", np.eye(64, dtype=np.float32))
    for number in numbers:
        phase, deed = misdeed(seed * 1_000_003 + number, folder / "said")
        yield _measure(model, phase, deed, number)


def misdeed(seed: int, path: Path) -> tuple[str, str]:
    """When a board begins to misbehave, and how: a deed, or `path` with what it writes."""
    rng = random.Random(seed)  # noqa: S311
    phase = rng.choice(tuple(FACTS))
    if rng.random() < 0.1:
        return phase, rng.choice(tuple(ENDLESS))
    path.write_bytes(rng.choice((_damaged, _damaged, _changed, _changed, _promised))(phase, rng))
    return phase, str(path)


def _damaged(phase: str, rng: random.Random) -> bytes:
    data = bytearray(answer(phase))
    for _ in range(rng.choice((0, 1, 2, 8))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.5:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def _changed(phase: str, rng: random.Random) -> bytes:
    """A value somewhere in the result is another."""
    facts = json.loads(json.dumps(FACTS[phase]))
    place = facts
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not place[key] or not isinstance(place[key], dict | list) or rng.random() < 0.4:
            place[key] = rng.choice(VALUES)
            return answer(phase, json.dumps(facts).encode())
        place = place[key]


def _promised(_: str, rng: random.Random) -> bytes:
    names = ("result.json", "outputs.npz", "../up", "\x1b[2J", "x" * 300)
    sizes = (-1, 0, 2, 3, 1 << 20, 1 << 40, 10**400, "2", None)
    files = [[rng.choice(names), rng.choice(sizes)] for _ in range(rng.choice((0, 1, 2, 500)))]
    return promised(**{rng.choice(("code", "errors", "more")): rng.choice(VALUES), "files": files})


def _measure(model: Path, phase: str, deed: str, number: int) -> Outcome:
    marker = f"{os.getpid()}-board-{number}"
    said = [model.with_suffix(ending) for ending in (".stdout", ".stderr")]
    board = {
        CLIENT_VARIABLE: f"{sys.executable} {hostile_board.__file__}",
        "HOSTILE_AT": phase,
        "HOSTILE": deed,
        MARK: marker,
    }
    device = ("--device", "xnnpack-arm64", "--target", "ssh:board", "--json")
    with said[0].open("wb") as output, said[1].open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeprune", "measure", str(model), *device],
            env={**os.environ, **board},
            stdout=output,
            stderr=errors,
        )
        code, seconds, most = _ended(process)
    faults = list(wrong(code, *(path.read_bytes() for path in said)))
    if seconds > LONGEST_S:
        faults.append(("hangs", f"{seconds:.1f} s after {deed} at {phase}"))
    if most > MOST_BYTES:
        faults.append(("over 1 GB", f"{most >> 20} MiB after {deed} at {phase}"))
    if left := survivors(marker):
        faults.append(("orphans", f"{left}"))
        end_all(left)
    return Outcome(number, tuple(faults), ("measured" if code == 0 else "refused", phase))


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, float, int]:
    """Waits; returns the exit code, the seconds, and the most bytes that the process took."""
    begin = time.monotonic()
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        if time.monotonic() - begin > KILLED_AFTER_S:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    return process.returncode, time.monotonic() - begin, ended[2].ru_maxrss << 10


def wrong(code: int, output: bytes, errors: bytes) -> Iterator[tuple[str, str]]:
    """What is wrong with how a command ended and with what it printed."""
    if code not in {0, 1, 2} or b"Traceback" in errors:
        yield "tracebacks", f"exit {code}: {errors[-900:].decode(errors='replace')}"
    if b"\x1b" in output + errors:
        yield "wrong outputs", "an escape sequence was printed"
    try:
        json.loads(output, parse_constant=_no_number)
    except ValueError as error:
        yield "wrong outputs", f"--json printed no JSON: {error}: {output[:200]!r}"


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")

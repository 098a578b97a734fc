"""Runs a piece of a campaign in processes of its own, and goes on behind a case that killed one.

As a program, `PART SEED FIRST COUNT` prints a line of JSON for each case.
"""

from __future__ import annotations

import importlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.campaign_outcome import Outcome

ROOT = Path(__file__).parents[2]
PARTS = ("mutants", "kills", "graphs", "boards")
SILENCE_S = 900.0
"""A worker that tells of no case for so long is ended, and its case has hung."""
PIECE = 50
Listener = Callable[[Outcome], None]


def run_cases(
    part: str, seed: int, first: int, count: int, jobs: int, listener: Listener
) -> list[Outcome]:
    """Runs cases in `jobs` processes; returns the outcomes in order of numbers.

    Args:
      part: a member of `PARTS`.
      seed: of the whole campaign.
      first: number of the first case.
      count: of cases.
      jobs: how many processes work at a time.
      listener: called with each outcome as it comes.
    """
    piece = max(1, min(PIECE, -(-count // jobs)))
    starts = range(first, first + count, piece)
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(
            lambda start: _run_piece(
                part, seed, start, min(piece, first + count - start), listener
            ),
            starts,
        )
        return [outcome for outcomes in found for outcome in outcomes]


def _run_piece(part: str, seed: int, first: int, count: int, listener: Listener) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while len(outcomes) < count:
        at = first + len(outcomes)
        for outcome in _run_process(part, seed, at, count - len(outcomes), listener):
            outcomes.append(outcome)
    return outcomes


def _run_process(part: str, seed: int, first: int, count: int, listener: Listener) -> list[Outcome]:
    """Runs cases until one ends the process; that one's outcome is the last."""
    command = [sys.executable, "-m", "tests.support.campaign_worker", part]
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        listener(outcome)

    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [*command, str(seed), str(first), str(count)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        hung = _listen(process, tell)
        process.wait()
        if len(outcomes) < count:
            errors.seek(0)
            words = f"exit {process.returncode}: {errors.read()[-900:]}"
            kind = "hangs" if hung else "tracebacks"
            tell(Outcome(first + len(outcomes), ((kind, words),)))
    return outcomes


def _listen(process: subprocess.Popen[str], tell: Listener) -> bool:
    """Tells of each line as it comes; True if the process had to be ended for its silence."""
    lines: queue.Queue[str] = queue.Queue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=SILENCE_S)
        except queue.Empty:
            process.kill()
            return True
        if not line:
            return False
        if line.startswith('{"number"'):
            tell(Outcome.from_line(line))


def main(part: str, seed: int, first: int, count: int) -> None:
    """Runs cases one behind the other, and prints how each ended."""
    module = importlib.import_module(f"tests.support.campaign_{part}")
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        for outcome in module.cases(Path(folder), seed, range(first, first + count)):
            sys.stdout.write(outcome.to_line() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))

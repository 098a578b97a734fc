"""Short forms of `scripts/campaign`, and that it sees what it looks for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeprune import export
from tests.support.campaign_graphs import judge as judge_graph
from tests.support.campaign_outcome import Outcome, add_up, failed, figures
from tests.support.random_graphs import random_graph
from tests.support.runtime_judge import RUNTIMES
from tests.support.tflite_builder import dense_net
from tests.support.tflite_edits import edit
from tests.support.tiny_tflite import fully_connected

assert sys.platform == "linux"

from tests.support.campaign_boards import wrong  # noqa: E402
from tests.support.campaign_kills import MARK, marked, whole  # noqa: E402
from tests.support.campaign_mutants import compare, mutant, sources  # noqa: E402

ROOT = Path(__file__).parents[1]


def campaign(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "campaign", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


JUDGED = """
import sys
from pathlib import Path
from tests.support.campaign_mutants import judge
for number, path in enumerate(sys.argv[1:]):
    print(judge(Path(path), number).to_line())
"""


def judged(paths: list[Path]) -> list[Outcome]:
    """What a process of its own says of files: it forks, which one with TensorFlow must not."""
    command = [sys.executable, "-c", JUDGED, *map(str, paths)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    return [Outcome.from_line(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_few_mutants_end_well_and_add_up(tmp_path: Path) -> None:
    for first in ("0", "20"):
        campaign("mutants", "--from", first, "--count", "20", "--out", str(tmp_path))
    assert figures([])["tried"] == 0
    assert add_up(tmp_path, "mutants", {}, [])["tried"] == 40


def test_a_file_that_computes_something_else_is_counted(tmp_path: Path) -> None:
    weights = np.eye(8, dtype=np.float32)
    right = fully_connected(tmp_path / "right.tflite", weights)
    weights[3, 4] = 0.01
    wrong = fully_connected(tmp_path / "wrong.other", weights)
    note, found = compare(right, [wrong])
    assert note == "judged"
    assert [words.partition(" differs by ")[0] for words in found] == [
        f"{module}: other" for module in RUNTIMES
    ]
    assert compare(right, [right]) == ("judged", [])


def test_a_file_that_no_longer_runs_is_counted(tmp_path: Path) -> None:
    right = fully_connected(tmp_path / "right.tflite", np.eye(8, dtype=np.float32))
    (tmp_path / "cut.other").write_bytes(right.read_bytes()[:100])
    _, found = compare(right, [tmp_path / "cut.other"])
    assert ["does not run" in words for words in found] == [True] * len(RUNTIMES)


@pytest.mark.slow
def test_a_few_kills_leave_whole_files_and_nobody() -> None:
    assert "tried 5, tracebacks 0" in campaign("kills", "--count", "5")


@pytest.mark.slow
def test_a_random_graph_ends_well_on_every_device() -> None:
    assert "exported" in campaign("graphs", "--count", "1")


@pytest.mark.slow
def test_a_file_that_is_not_its_keras_model_is_counted(tmp_path: Path) -> None:
    model = random_graph(3)
    x = [np.random.default_rng(0).standard_normal((8, *model.input_shape[1:])).astype(np.float32)]
    output, reference = tmp_path / "m.tflite", tmp_path / "m.keras"
    export(model, "xnnpack-x86", output)
    model.save(reference)
    assert judge_graph(output, "xnnpack-x86", reference, x) == []
    model.weights[0].assign(model.weights[0] * 1.5)
    model.save(reference)
    assert {kind for kind, _ in judge_graph(output, "xnnpack-x86", reference, x)} == {
        "wrong outputs"
    }


@pytest.mark.slow
def test_a_few_hostile_boards_end_in_words() -> None:
    assert "tried 5, tracebacks 0" in campaign("boards", "--count", "5")


@pytest.mark.parametrize(
    ("code", "output", "kind"),
    [
        (1, b"Traceback", "tracebacks"),
        (-11, b"", "tracebacks"),
        (0, b"\x1b[31m", "wrong outputs"),
        (0, b"[NaN]", "wrong outputs"),
    ],
)
def test_what_a_board_may_not_bring_about_is_counted(code: int, output: bytes, kind: str) -> None:
    assert list(wrong(2, b"{}", b"Error: board: in words")) == []
    assert kind in dict(wrong(code, output, output))


@pytest.mark.parametrize("name", ["new.tflite", "new.keras", "new.json"])
def test_a_torn_file_is_counted(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert not whole(path)
    right = fully_connected(tmp_path / "right.tflite", np.eye(8, dtype=np.float32))
    path.write_bytes(right.read_bytes())
    assert whole(path) == (name == "new.tflite")
    path.write_bytes(right.read_bytes()[:-300])
    assert not whole(path)


def test_a_process_that_lives_on_is_found_by_its_marker() -> None:
    marker = f"test-{os.getpid()}"
    with subprocess.Popen(["/bin/sleep", "60"], env={**os.environ, MARK: marker}) as process:
        assert marked(marker) == [process.pid]
        process.kill()
    assert marked(marker) == []


def test_a_case_comes_again_from_its_number(tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in sources(tmp_path)]
    number = len(contents) + 2
    assert mutant(contents, 5, number) == mutant(contents, 5, number) != contents[2]
    assert mutant(contents, 5, number) != mutant(contents, 6, number)


@pytest.mark.slow
def test_an_edited_file_is_well_formed_or_refused_by_name(tmp_path: Path) -> None:
    whole = dense_net(tmp_path / "whole", np.ones((4, 4), np.float32)).read_bytes()
    paths = [tmp_path / f"edited-{seed}.tflite" for seed in range(5)]
    for seed, path in enumerate(paths):
        path.write_bytes(edit(whole, seed))
        assert path.read_bytes()[4:8] == b"TFL3"
    outcomes = judged(paths)
    assert [outcome.faults for outcome in outcomes] == [()] * len(paths)


def test_figures_add_up_over_pieces_and_fail_for_a_single_fault(tmp_path: Path) -> None:
    good = Outcome(0, notes=("accepted",))
    bad = Outcome(1, (("orphans", "1"), ("orphans", "2"), ("torn files", "x")))
    assert not failed(figures([good]))
    assert failed(figures([good, bad]))
    assert Outcome.from_line(bad.to_line()) == bad
    add_up(tmp_path, "kills", {"from": 0}, [good])
    add_up(tmp_path, "graphs", {"from": 0}, [bad])
    total = add_up(tmp_path, "kills", {"from": 1}, [bad])
    assert (total["tried"], total["orphans"], total["accepted"]) == (2, 1, 1)

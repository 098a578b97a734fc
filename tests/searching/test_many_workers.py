"""Several workers in processes of their own, one of which is killed: one search comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from edgeprune.core.errors import InputError
from edgeprune.searching.opening import NAME
from edgeprune.searching.space import candidates
from edgeprune.searching.storage_url import read_url
from edgeprune.searching.study import Study
from tests.support.postgresql_server import postgresql_server
from tests.support.pretended_search import Formula, alone, phone_space
from tests.support.search_worker import HEART, IDENTITY

assert sys.platform == "linux"

pytestmark = pytest.mark.slow

TASK_S = 0.3
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/search.db"
    else:
        with postgresql_server() as address:
            yield address


def start(url: str, log: Path, seconds: float = TASK_S) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.search_worker", url, str(log), str(seconds)]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def result(worker: subprocess.Popen[bytes]) -> dict[str, float]:
    out, err = worker.communicate(timeout=300)
    assert worker.returncode == 0, err.decode()
    found: dict[str, float] = json.loads(out)
    return found


def notes(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def by_one_worker() -> dict[str, float]:
    space = phone_space()
    formula = Formula(space)
    finished = alone(space, formula, formula.expected(candidates(space)))
    return {each.task.key: each.outcome.cost for each in finished if each.outcome}


def test_a_killed_worker_loses_nothing_and_no_finished_task_is_done_twice(
    url: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    slow = start(url, log, seconds=3600)  # it is in the middle of its first task when it dies
    while not notes(log):
        time.sleep(0.05)
        assert slow.poll() is None, slow.communicate()[1].decode()
    workers = [start(url, log), start(url, log)]
    while not any(note[0] == "end" for note in notes(log)):
        time.sleep(0.05)
    os.kill(slow.pid, signal.SIGKILL)
    slow.communicate()
    found = [result(worker) for worker in workers]
    assert found[0] == found[1] == by_one_worker()
    ended = Counter(key for what, key, _ in notes(log) if what == "end")
    assert set(ended.values()) == {1}
    assert set(ended) == set(found[0])
    (lost,) = [key for what, key, pid in notes(log) if pid == str(slow.pid)]
    assert [what for what, key, _ in notes(log) if key == lost] == ["begin", "begin", "end"]
    shares = Counter(pid for what, _, pid in notes(log) if what == "end")
    assert len(shares) == 2
    assert min(shares.values()) > 3


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path) -> None:
    url, log = f"sqlite:///{tmp_path}/search.db", tmp_path / "log"
    first = start(url, log)
    while len(notes(log)) < 9:
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    first.communicate()
    before = [key for what, key, _ in notes(log) if what == "end"]
    assert result(start(url, log)) == by_one_worker()
    ended = Counter(key for what, key, _ in notes(log) if what == "end")
    assert set(before) < set(ended)
    assert set(ended.values()) == {1}
    states = Counter(
        trial.state.name for trial in optuna.load_study(study_name=NAME, storage=url).trials
    )
    assert states["FAIL"] == 1
    assert states["RUNNING"] == states["WAITING"] == 0


def test_no_password_is_in_what_a_server_refused() -> None:
    with postgresql_server() as url:
        wrong = url.replace("s3cret", "wr0ng")
        with pytest.raises(InputError) as error:
            Study.open(read_url(wrong), IDENTITY, phone_space(), HEART)
    assert "password authentication failed" in str(error.value)
    assert not [word for word in ("wr0ng", "w@rd", "w%40rd") if word in str(error.value)]

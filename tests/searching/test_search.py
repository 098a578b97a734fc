"""A search from beginning to end, with evaluations that are a formula."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edgeprune.core.errors import DataError, InputError, ProfileError
from edgeprune.core.progress import Progress
from edgeprune.core.work_note import CRASH
from edgeprune.profiles.folder import profile_folder
from edgeprune.pruning.training.settings import Training
from edgeprune.searching import search
from edgeprune.searching.asked import Asked
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import HalfAccuracy, Outcome, Stage, Task
from edgeprune.searching.crashes import Crashes
from edgeprune.searching.result import Search
from edgeprune.searching.run import Audience, Standing
from edgeprune.searching.search import run_search
from edgeprune.searching.space import Space
from tests.support.pretended_search import Formula, phone_space

DENSE = HalfAccuracy(0.80, 0.80, None, (100, 100), "Keras")
X = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
DATA = {"x": X, "x_test": X, "y_test": np.argmax(X, axis=1)}


class Pretended:
    """In place of an evaluation; remembers what it was asked, and may be told to fail."""

    def __init__(self) -> None:
        self.formula = Formula(phone_space(Budget(max_drop=0.01), trials=3))
        self.asked: list[Task] = []
        self.before: Callable[[Task], None] = lambda _: None

    def dense(self) -> HalfAccuracy:
        return DENSE

    def expected(self, candidates: Any) -> Any:
        return self.formula.expected(candidates)

    def evaluate(self, task: Task, progress: Progress) -> Outcome:
        self.before(task)
        self.asked.append(task)
        return self.formula.evaluate(task, progress)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    found = Pretended()
    monkeypatch.setattr(search, "Evaluation", lambda *_: found)
    monkeypatch.setattr(search, "space_of", lambda *_: found.formula.space)
    # Its device has no profile.
    monkeypatch.setattr(Space, "offered_by", lambda space, _: space)
    return found


@pytest.fixture(scope="module")
def model() -> Any:
    built = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(4, use_bias=False)])
    built.layers[0].kernel.assign(np.eye(4, dtype=np.float32))
    return built


def asked(model: Any, **more: Any) -> Asked:
    chosen = {"data": DATA, "budget": Budget(max_drop=0.01), **more}
    return Asked(model=model, devices=["android-phone"], **chosen)


def run(model: Any, folder: Path, **more: Any) -> Search:
    return run_search(asked(model, **more), folder)


@pytest.mark.slow
def test_a_search_that_is_over_is_found_again_and_another_one_is_refused(
    pretended: Pretended, model: Any, tmp_path: Path
) -> None:
    told: list[Standing] = []
    found = run_search(asked(model), tmp_path / "out", Audience(told=told.append))
    assert found.complete
    assert found.ok
    assert found.trials.done == 3
    assert json.loads((tmp_path / "out" / "search.json").read_text()) == found.to_json()
    assert told[-1].left == 0
    assert "best so far phone int8-channels" in str(told[-1])

    pretended.asked.clear()
    again = run(model, tmp_path / "out", resume=True)
    assert pretended.asked == []
    assert again.fronts == found.fronts
    assert again.seconds.total > found.seconds.total

    with pytest.raises(InputError, match="another search. Expected the same data"):
        run(model, tmp_path / "out", data={**DATA, "x": X + 1})


@pytest.mark.slow
@pytest.mark.usefixtures("pretended")
def test_a_search_is_not_gone_on_with_by_a_metric_whose_code_has_changed(
    model: Any, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def score(y, outputs):\n    return float(len(y))\n")
    run(model, tmp_path / "out", metric=f"{path}:score")
    path.write_text("def score(y, outputs):\n    return 2.0 * len(y)\n")
    with pytest.raises(InputError, match="another search. Expected the same options"):
        run(model, tmp_path / "out", metric=f"{path}:score")


def test_a_metric_that_tells_nothing_is_said_before_anything_is_written(
    model: Any, tmp_path: Path
) -> None:
    search = replace(asked(model, metric=lambda *_: float("nan")), devices=["edge-tpu"])
    with pytest.raises(DataError, match="one finite number. Received: nan"):
        run_search(search, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loss_that_there_is_not_is_said_before_any_work(model: Any, tmp_path: Path) -> None:
    training = Training(epochs=1, loss="nope")
    data = (X, np.argmax(X, axis=1))
    search = replace(asked(model, data=data, epochs=1, training=training), devices=["edge-tpu"])
    with pytest.raises(InputError, match="nope"):
        run_search(search, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_storage_that_is_away_leaves_no_folder(model: Any, tmp_path: Path) -> None:
    away = asked(model, storage="postgresql://me:secret@127.0.0.1:9/search")
    with pytest.raises(InputError, match="on 127.0.0.1:9: expected a storage") as caught:
        run_search(away, tmp_path / "out")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_two_devices_of_one_name_are_refused_where_they_differ(model: Any, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = (profile_folder() / "edge-tpu.toml").read_text(encoding="utf-8")
    own.write_text(text.replace('device = "', 'device = "another '), encoding="utf-8")
    search = replace(asked(model), devices=["edge-tpu", own])
    with pytest.raises(ProfileError, match="called 'edge-tpu' and differ. Change `name`"):
        run_search(search, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_interrupted_search_keeps_what_is_finished_and_ends_with_the_same_front(
    pretended: Pretended, model: Any, tmp_path: Path
) -> None:
    whole = run(model, tmp_path / "whole")
    tasks = list(pretended.asked)
    pretended.asked.clear()

    def interrupt(_: Task) -> None:
        if len(pretended.asked) == 4:
            raise SystemExit(130)

    pretended.before = interrupt
    with pytest.raises(SystemExit):
        run(model, tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "search.json").read_text())
    judged = {point["route"] for point in kept["fronts"][0]["references"]}
    assert judged == {
        "float32",
        "int8",
    }  # what runs on an emulated core comes late
    pretended.before = lambda _: None
    found = run(model, tmp_path / "out")
    assert {task.key for task in pretended.asked} == {task.key for task in tasks}
    assert len(pretended.asked) == len(tasks)
    assert found.fronts == whole.fronts


@pytest.mark.slow
def test_a_task_on_which_a_process_crashed_three_times_has_failed_and_the_search_goes_on(
    pretended: Pretended, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `guard` does, which starts the command again and leaves why it died."""
    own = tmp_path / "own"
    own.mkdir()
    crashes = Crashes(own)

    class Died(BaseException):
        """Nothing is told to the storage, as if the process were gone."""

    def die(task: Task) -> None:
        if task.stage is Stage.INSTRUMENT and task.candidate.route == "sparse":
            (own / f"{CRASH}{task.key}").write_text("search: a runtime crashed (SIGSEGV).")
            raise Died

    pretended.before = die
    monkeypatch.setattr("edgeprune.searching.study.Study.give_back", lambda *_, **__: None)
    found = None
    for _ in range(12):
        try:
            found = run_search(asked(model), tmp_path / "out", crashes=crashes)
            break
        except Died:
            continue
    assert found is not None
    crashed = [each for each in found.fronts[0].attempts if each.why.startswith("failed")]
    assert {each.stage for each in crashed} == {"instrument"}
    whys = {each.why for each in crashed}
    assert whys == {"failed: 3 workers died on it: search: a runtime crashed (SIGSEGV)."}
    assert found.ok


def test_there_has_to_be_a_search_to_resume(model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"search\.db: no search to resume"):
        run(model, tmp_path / "out", resume=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"budget": Budget(max_drop=0.01, min_accuracy=0.9)}, "give one of them"),
        ({"budget": Budget(max_drop=1.5)}, "such as 0.01 for one point"),
        ({"budget": Budget(min_accuracy=70)}, r"in \(0, 1\]"),
        ({"budget": Budget(max_cost=-1.0)}, "`max_cost` is above 0"),
        ({"budget": Budget(max_bytes=0)}, "`max_bytes` is a number of at least 1"),
        ({"trials": 0}, "`trials` is a number of at least 1"),
        ({"minimize": True}, "`minimize` is of a metric"),
        ({"training": Training(epochs=4)}, "give `epochs`, which are 0"),
        ({"devices": []}, "at least one device"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_opened(
    more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Asked(**{"model": "m.keras", "devices": ["android-phone"], "data": "d.npz", **more})

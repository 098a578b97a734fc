"""A worker of a search in a process of its own, whose evaluations are a formula and take a while.

Arguments: the storage's URL, a file in which every worker writes when it begins and ends a task,
and how many seconds a task takes. Prints what all workers have finished, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.progress import Progress
from edgeprune.searching.candidate import Candidate, Outcome, Task
from edgeprune.searching.opening import Heart
from edgeprune.searching.storage_url import read_url
from edgeprune.searching.study import Study
from edgeprune.searching.work import work
from tests.support.pretended_search import Formula, phone_space

HEART = Heart(interval_s=1, grace_s=3)
IDENTITY = {"model": "a" * 64, "data": "b" * 64}


@dataclass(frozen=True)
class Slow:
    """A formula that takes its time, and writes down what it does."""

    formula: Formula
    log: Path
    seconds: float

    def expected(self, candidates: Sequence[Candidate]) -> Mapping[str, float | None]:
        return self.formula.expected(candidates)

    def evaluate(self, task: Task, progress: Progress) -> Outcome:
        self._note("begin", task)
        time.sleep(self.seconds)
        found = self.formula.evaluate(task, progress)
        self._note("end", task)
        return found

    def _note(self, what: str, task: Task) -> None:
        with self.log.open("a") as file:
            file.write(f"{what} {task.key} {os.getpid()}\n")


def main(url: str, log: str, seconds: str) -> None:
    """Works until the search is over."""
    space = phone_space()
    study = Study.open(read_url(url), IDENTITY, space, HEART)
    ended = work(study, space, Slow(Formula(space), Path(log), float(seconds)))
    study.close()
    found = {each.task.key: each.outcome and each.outcome.cost for each in ended.finished}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

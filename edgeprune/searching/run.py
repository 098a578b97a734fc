"""One worker's part of a search: it evaluates, keeps the folder up to date and tells how far it is.

The loop is `work`'s; what is told and written here changes nothing in it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from edgeprune.conversion.manifest import installed_versions
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.progress import Progress, no_progress
from edgeprune.core.work_note import working
from edgeprune.keras_model.files import name_of
from edgeprune.searching.asked import Asked
from edgeprune.searching.assemble import Facts, fronts_of, trials_of
from edgeprune.searching.attempts import STAGES
from edgeprune.searching.cache import Cache
from edgeprune.searching.candidate import Candidate, Finished, HalfAccuracy, Outcome, Task
from edgeprune.searching.command import Typed, scale_words, training_words, written_devices
from edgeprune.searching.crashes import Crashes
from edgeprune.searching.folder import Pages, publish
from edgeprune.searching.front import how
from edgeprune.searching.parcel import packed, unpack
from edgeprune.searching.result import Front, Search, Seconds
from edgeprune.searching.space import Space
from edgeprune.searching.study import Study
from edgeprune.searching.subject import Subject
from edgeprune.searching.weights import training_of
from edgeprune.searching.work import Evaluator, Watcher, work


@dataclass(frozen=True)
class Standing:
    """How far a search is."""

    search: Search
    left: int
    """Tasks of the round that are not finished."""
    seconds_left: float | None
    """Until the time that was given is over; None if none was."""

    @property
    def tried(self) -> int:
        """Candidates that were looked at."""
        trials = self.search.trials
        return trials.done + trials.dropped + trials.failed

    def __str__(self) -> str:
        best = "; ".join(filter(None, map(_best, self.search.fronts)))
        left = "" if self.seconds_left is None else f", {_clock(self.seconds_left)} left"
        return f"{self.tried} tried, {self.left} in this round{left}; {best or 'nothing yet'}"


def _best(front: Front) -> str:
    if front.shipped is None:
        return ""
    ratios = [each.cost for each in front.references if each.cost]
    part = f", {front.shipped.cost / max(ratios):.2f} of the costliest dense file" if ratios else ""
    return f"best so far {front.shipped.name}{part}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@dataclass(frozen=True)
class Audience:
    """Who is told how a search goes, and what is written beside its JSON."""

    progress: Progress = no_progress
    """Told what an evaluation does."""
    told: Callable[[Standing], None] = lambda _: None
    """Told how far the search is, whenever something is finished."""
    pages: Pages = field(default_factory=dict)


@dataclass
class Log:
    """What a worker remembers of its own part."""

    before: Seconds
    """What earlier runs in the same folder took."""
    work_s: float = 0.0
    """Seconds of evaluations, not of the search itself."""
    doing: str = ""
    """What is evaluated."""
    fronts: tuple[Front, ...] | None = None
    """As they were written last."""


@dataclass(frozen=True, eq=False)
class Timed:
    """An evaluator whose seconds are counted, and whose task is known if it crashes the process."""

    evaluator: Evaluator
    log: Log
    crashes: Crashes | None

    def expected(self, candidates: Sequence[Candidate]) -> Mapping[str, float | None]:
        """As the evaluator."""
        return self.evaluator.expected(candidates)

    def evaluate(self, task: Task, progress: Progress) -> Outcome:
        """As the evaluator; a failed evaluation counts as work."""
        self.log.doing = _name(task)
        place = self.crashes.evaluating(task) if self.crashes else contextlib.nullcontext()
        start = time.monotonic()
        with place, working(f"evaluating {self.log.doing}"):
            try:
                outcome = self.evaluator.evaluate(task, progress)
            except EdgepruneError:
                self.log.work_s += time.monotonic() - start
                raise
        self.log.work_s += sum(outcome.seconds.values())
        return outcome


def _name(task: Task) -> str:
    candidate = task.candidate
    words = filter(None, [f"{candidate.device} {candidate.route}", how(candidate)])
    return f"{', '.join(words)} ({STAGES[task.stage]})"


@dataclass(frozen=True, eq=False)
class Run:
    """One worker's part of a search, ready to begin."""

    asked: Asked
    folder: Path
    audience: Audience
    space: Space
    subject: Subject
    study: Study
    cache: Cache
    dense: HalfAccuracy | None
    """Accuracy of the dense float model; None without labels."""
    start: float
    """By `time.monotonic`."""
    log: Log

    def to_the_end(self, evaluator: Evaluator, crashes: Crashes | None = None) -> Search:
        """Works until the search is over, or its time; returns what was found."""
        seconds = self.asked.seconds
        watcher = Watcher(
            progress=lambda what, done, total: self.audience.progress(
                f"{self.log.doing}: {what}", done, total
            ),
            seen=self._seen,
            content=None if self._alone else lambda sha256: packed(self.cache.file(sha256)),
        )
        ended = work(
            self.study,
            self.space,
            Timed(evaluator, self.log, crashes),
            deadline=None if seconds is None else self.start + seconds,
            watcher=watcher,
            dense_accuracy=self.dense.selected_on if self.dense else None,
        )
        return self._publish(self._found(ended.finished, complete=ended.reason == "over"))

    @cached_property
    def _typed(self) -> Typed:
        """What makes the files of points again."""
        asked, subject = self.asked, self.subject
        runtime = subject.settings.runtime_words
        data = str(asked.data) if isinstance(asked.data, str | Path) else ""
        signature = () if asked.signature is None else ("--signature", asked.signature)
        return replace(
            asked.typed or Typed(name_of(asked.model), data, signature),
            runtime=("--runtime", runtime) if runtime else (),
            devices=written_devices(asked.devices),
            samples=scale_words(asked.scale),
            held_out=subject.held_out,
            prune=() if asked.samples is None else ("--samples", str(asked.samples)),
            training=training_words(training_of(subject, asked.epochs)) if asked.epochs else (),
        )

    @property
    def _alone(self) -> bool:
        """Whether all workers share the folder, since the storage lies in it."""
        return self.asked.storage is None

    def _seen(self, finished: Sequence[Finished], tasks: Sequence[Task]) -> None:
        """Writes the fronts if they have changed, and tells how far the search is."""
        found = self._found(finished, complete=False)
        if found.fronts != self.log.fronts:
            self._publish(found)
            self.log.fronts = found.fronts
        seconds = self.asked.seconds
        left = None if seconds is None else self.start + seconds - time.monotonic()
        self.audience.told(Standing(found, len(tasks), left))

    def _found(self, finished: Sequence[Finished], *, complete: bool) -> Search:
        typed = self._typed
        facts = Facts(self.space, self.dense, self.subject.metric is None, typed.command)
        total = time.monotonic() - self.start
        before = self.log.before
        return Search(
            model=typed.model,
            model_sha256=self.subject.model_sha256,
            data_sha256=self.subject.data_sha256,
            budget=self.asked.budget,
            seed=self.asked.seed,
            fronts=fronts_of(facts, finished),
            trials=trials_of(self.space, finished),
            seconds=Seconds(
                before.total + total, before.overhead + max(0.0, total - self.log.work_s)
            ),
            complete=complete,
            environment=_environment(finished),
        )

    def _publish(self, found: Search) -> Search:
        return publish(found, self.folder, self._file, self.audience.pages)

    def _file(self, sha256: str) -> Path | None:
        """A file in the cache, from another machine if need be."""
        if not self.cache.has_file(sha256) and not self._alone:
            content = self.study.file(sha256)
            if content is not None:
                unpack(content, self.cache.file(sha256))
        return self.cache.file(sha256) if self.cache.has_file(sha256) else None


def _environment(finished: Sequence[Finished]) -> dict[str, str]:
    """Versions by name, and where files ran."""
    found = (each.outcome for each in finished if each.outcome and each.outcome.accuracy)
    ran = dict.fromkeys(each.accuracy.runtime for each in found if each.accuracy)
    return installed_versions() | ({"accuracy in": ", ".join(ran)} if ran else {})

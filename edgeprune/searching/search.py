"""A search from beginning to end: its parts put together, and its folder kept up to date."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.conversion.manifest import installed_versions
from edgeprune.core import digest
from edgeprune.core.errors import EdgepruneError, InputError
from edgeprune.core.files import make_output_folder, require_output_folder
from edgeprune.core.progress import Progress, no_progress
from edgeprune.keras_model.files import name_of
from edgeprune.profiles.profile import load_profile
from edgeprune.searching import fingerprint
from edgeprune.searching.asked import Asked
from edgeprune.searching.assemble import Facts, fronts_of, trials_of
from edgeprune.searching.cache import Cache
from edgeprune.searching.candidate import Candidate, Finished, HalfAccuracy, Outcome, Task
from edgeprune.searching.command import Given
from edgeprune.searching.evaluate import Evaluation
from edgeprune.searching.folder import SEARCH_FILES, Pages, publish
from edgeprune.searching.front import how
from edgeprune.searching.parcel import packed, unpack
from edgeprune.searching.result import Search, Seconds
from edgeprune.searching.space import Space, space_of
from edgeprune.searching.storage_url import StorageUrl, file_url, read_url
from edgeprune.searching.study import Study
from edgeprune.searching.subject import Subject, open_subject
from edgeprune.searching.work import Evaluator, Watcher, work

STORAGE = "search.db"
"""Name of the storage in the search's folder, where none is given."""


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


def _best(front: Any) -> str:
    if front.shipped is None:
        return ""
    ratios = [each.cost for each in front.references if each.cost]
    part = f", {front.shipped.cost / max(ratios):.2f} of the dearest dense file" if ratios else ""
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


def run_search(asked: Asked, folder: Path, audience: Audience | None = None) -> Search:
    """Searches until nothing is left to try or the time is over; see `edgeprune.search`.

    Raises:
      EdgepruneError: as `edgeprune.search`.
    """
    start = time.monotonic()
    audience = audience or Audience()
    url = _storage_of(asked, folder)
    require_output_folder(folder, *SEARCH_FILES)
    profiles = [load_profile(device) for device in asked.devices]
    space = space_of(
        profiles,
        asked.routes,
        asked.budget,
        asked.epochs,
        asked.seed,
        asked.trials,
        asked.target,
        asked.minimize,
    )
    audience.progress("opening model and data", 0, 1)
    subject = open_subject(
        asked.model,
        asked.data,
        profiles,
        budget=asked.budget,
        validation_data=asked.validation_data,
        metric=asked.metric,
        minimize=asked.minimize,
        scale=asked.scale,
        samples=asked.samples,
        training=asked.training,
        settings=asked.settings,
        seed=asked.seed,
    )
    make_output_folder(folder)
    study = Study.open(url, _identity(asked, subject), space)
    try:
        cache = Cache(folder / "cache")
        yardsticks = {route.device: route.front for route in space.routes}
        evaluation = Evaluation(subject, cache, yardsticks)
        run = _Run(asked, folder, audience, space, subject, study, cache, start)
        return run.to_the_end(evaluation)
    finally:
        study.close()


def _storage_of(asked: Asked, folder: Path) -> StorageUrl:
    """The storage that was named, else a file in the folder.

    Raises:
      InputError: it has no such address, or there is nothing to resume.
    """
    url = read_url(asked.storage) if asked.storage else file_url(folder / STORAGE)
    if asked.resume and url.local and not Path(url.url.database or "").exists():
        raise InputError(
            f"{url.place}: no search to resume. Expected the storage that an interrupted one left. "
            "Leave out --resume to begin one."
        )
    return url


def _identity(asked: Asked, subject: Subject) -> dict[str, str]:
    """What has to be the same for all workers, by names that people understand."""
    metric = subject.metric.name if subject.metric else None
    training = fingerprint.of_training(asked.training) if asked.epochs else None
    options = [str(asked.scale), asked.samples, metric, asked.minimize, training]
    return {
        "model": subject.model_sha256,
        "data": subject.data_sha256,
        "devices": digest.of_json(list(map(fingerprint.of_profile, subject.profiles.values()))),
        "options": digest.of_json(options),
    }


@dataclass
class _Work:
    """Seconds that this worker spent on evaluations, not on the search itself."""

    evaluator: Evaluator
    told: Callable[[Task], None]
    seconds: float = 0.0

    def expected(self, candidates: Sequence[Candidate]) -> Any:
        """As the evaluator."""
        return self.evaluator.expected(candidates)

    def evaluate(self, task: Task, progress: Progress) -> Outcome:
        """As the evaluator; a failed evaluation counts as work."""
        self.told(task)
        start = time.monotonic()
        try:
            outcome = self.evaluator.evaluate(task, progress)
        except EdgepruneError:
            self.seconds += time.monotonic() - start
            raise
        self.seconds += sum(outcome.seconds.values())
        return outcome


@dataclass
class _Run:
    """One worker's part of a search."""

    asked: Asked
    folder: Path
    audience: Audience
    space: Space
    subject: Subject
    study: Study
    cache: Cache
    start: float
    dense: HalfAccuracy | None = None
    doing: str = ""
    shown: Search | None = None

    def to_the_end(self, evaluation: Evaluation) -> Search:
        """Works until the search is over; returns what was found."""
        self.before = _seconds_before(self.folder, self.study)
        self.work = _Work(evaluation, self._begin)
        start = time.monotonic()
        self.audience.progress("judging the dense model", 0, 1)
        self.dense = _agreed_dense(self.study, evaluation.dense())
        self.work.seconds += time.monotonic() - start
        seconds = self.asked.seconds
        watcher = Watcher(
            progress=self._progress,
            seen=self._seen,
            content=None if self._alone else lambda sha256: packed(self.cache.file(sha256)),
        )
        ended = work(
            self.study,
            self.space,
            self.work,
            deadline=None if seconds is None else self.start + seconds,
            watcher=watcher,
            dense_accuracy=self.dense.selected_on if self.dense else None,
        )
        found = self._found(ended.finished, complete=ended.reason == "over")
        return self._publish(found)

    @property
    def _alone(self) -> bool:
        """Whether all workers share the folder, since the storage lies in it."""
        return self.asked.storage is None

    def _begin(self, task: Task) -> None:
        candidate = task.candidate
        words = filter(None, [f"{candidate.device} {candidate.route}", how(candidate)])
        self.doing = f"{', '.join(words)} ({task.stage.name.lower().replace('_', ' ')})"

    def _progress(self, what: str, done: int, total: int) -> None:
        self.audience.progress(f"{self.doing}: {what}", done, total)

    def _seen(self, finished: Sequence[Finished], tasks: Sequence[Task]) -> None:
        """Writes the front if it is another one now, and tells how far the search is."""
        found = self._found(finished, complete=False)
        if self.shown is None or found.fronts != self.shown.fronts:
            self._publish(found)
            self.shown = found
        seconds = self.asked.seconds
        left = None if seconds is None else self.start + seconds - time.monotonic()
        self.audience.told(Standing(found, len(tasks), left))

    def _found(self, finished: Sequence[Finished], *, complete: bool) -> Search:
        given = self.asked.given or _given(self.asked)
        facts = Facts(self.space, self.dense, self.subject.metric is None, given.command)
        total = time.monotonic() - self.start
        return Search(
            model=given.model,
            model_sha256=self.subject.model_sha256,
            data_sha256=self.subject.data_sha256,
            budget=self.asked.budget,
            seed=self.asked.seed,
            fronts=fronts_of(facts, finished),
            trials=trials_of(self.space, finished),
            seconds=Seconds(
                self.before.total + total,
                self.before.overhead + max(0.0, total - self.work.seconds),
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


def _agreed_dense(study: Study, own: HalfAccuracy | None) -> HalfAccuracy | None:
    """How good the dense model is, as the first worker found it."""
    found = study.agree("dense", asdict(own) if own else None)
    if found is None:
        return None
    content = Outcome(0.0, accuracy=own).to_json() | {"accuracy": found}
    return Outcome.from_json(content).accuracy


def _seconds_before(folder: Path, study: Study) -> Seconds:
    """What earlier runs of this search in the same folder took."""
    if not study.finished():
        return Seconds(0.0, 0.0)
    try:
        text = (folder / SEARCH_FILES[0]).read_text(encoding="utf-8")
        found = json.loads(text)["seconds"]
        return Seconds(float(found["total"]), float(found["overhead"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Seconds(0.0, 0.0)


def _given(asked: Asked) -> Given:
    data = asked.data if isinstance(asked.data, str | Path) else ""
    return Given(name_of(asked.model), str(data))


def _environment(finished: Sequence[Finished]) -> dict[str, str]:
    """Versions by name, and where files ran."""
    found = (each.outcome for each in finished if each.outcome and each.outcome.accuracy)
    ran = dict.fromkeys(each.accuracy.runtime for each in found if each.accuracy)
    return installed_versions() | ({"accuracy in": ", ".join(ran)} if ran else {})

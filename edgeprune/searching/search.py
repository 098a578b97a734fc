"""A search from beginning to end: its parts put together, and its folder kept up to date."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeprune.conversion.given import is_lifted
from edgeprune.core import digest
from edgeprune.core.errors import InputError, ProfileError
from edgeprune.core.files import make_output_folder, require_output_folder
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.pruning.training.labels import check_training
from edgeprune.searching import fingerprint
from edgeprune.searching.asked import Asked
from edgeprune.searching.cache import Cache
from edgeprune.searching.candidate import HalfAccuracy, Outcome
from edgeprune.searching.crashes import Crashes
from edgeprune.searching.evaluate import Evaluation
from edgeprune.searching.folder import SEARCH_FILES
from edgeprune.searching.opening import require_reached, told
from edgeprune.searching.result import Search, Seconds
from edgeprune.searching.run import Audience, Log, Run
from edgeprune.searching.space import space_of
from edgeprune.searching.storage_url import StorageUrl, file_url, read_url
from edgeprune.searching.study import Study
from edgeprune.searching.subject import Subject, open_subject
from edgeprune.searching.weights import training_of

STORAGE = "search.db"
"""Name of the storage in the search's folder, where none is given."""


def run_search(
    asked: Asked,
    folder: Path,
    audience: Audience | None = None,
    crashes: Crashes | None = None,
) -> Search:
    """Searches until nothing is left to try or the time is over; see `edgeprune.search`.

    Args:
      asked: what is asked for.
      folder: is made if its parent exists.
      audience: who is told.
      crashes: of processes that began this search, and died of native code.

    Raises:
      EdgepruneError: as `edgeprune.search`.
    """
    start = crashes.began() if crashes else time.monotonic()
    audience = audience or Audience()
    url = _storage_of(asked, folder)
    require_output_folder(folder, *SEARCH_FILES)
    profiles = _profiles(asked)
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
    if is_lifted(asked.model):
        space = space.of_weights_alone()
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
        signature=asked.signature,
        routes=asked.routes or (),
    )
    space = space.offered_by(subject.profiles)
    if asked.epochs:
        check_training(subject.model, subject.train, training_of(subject, asked.epochs))
    cache = Cache(folder / "cache")
    yardsticks = {route.device: route.front for route in space.routes}

    def agree(name: str, value: Any) -> Any:
        return study.agree(name, value)

    evaluation = Evaluation(subject, cache, yardsticks, agree)
    begun = time.monotonic()
    if subject.metric is not None:
        evaluation.dense()  # what the metric cannot tell is said before anything is written
    judged_s = time.monotonic() - begun
    make_output_folder(folder)
    study = Study.open(url, _identity(asked, subject), space)
    try:
        for key, died in (crashes.taken() if crashes else {}).items():
            study.lost(key, died.rstrip("."))
        log = Log(_seconds_before(folder, study))
        begun = time.monotonic()
        audience.progress("judging the dense model", 0, 1)
        dense = _agreed_dense(study, evaluation.dense())
        log.work_s += judged_s + time.monotonic() - begun
        run = Run(asked, folder, audience, space, subject, study, cache, dense, start, log)
        return run.to_the_end(evaluation, crashes)
    finally:
        study.close()


def _profiles(asked: Asked) -> list[DeviceProfile]:
    """The devices, each once, for the runtime that was named.

    Raises:
      ProfileError: one cannot be read, or two that differ have the same name.
    """
    runtime = asked.settings.runtime_words if asked.settings else None
    found: dict[str, DeviceProfile] = {}
    for device in asked.devices:
        profile = load_profile(device).in_runtime(runtime)
        if found.setdefault(profile.name, profile) != profile:
            raise ProfileError(
                f"{device}: expected devices of different names. Received: two profiles that are "
                f"called '{profile.name}' and differ. Change `name` in one of them."
            )
    return list(found.values())


def _storage_of(asked: Asked, folder: Path) -> StorageUrl:
    """The storage that was named, else a file in the folder.

    Raises:
      InputError: it has no such address, or there is nothing to resume.
    """
    url = read_url(asked.storage) if asked.storage else file_url(folder / STORAGE)
    if asked.storage:
        with told(url):
            require_reached(url)
    if asked.resume and url.local and not Path(url.url.database or "").exists():
        raise InputError(
            f"{url.place}: no search to resume. Expected the storage that an interrupted one left. "
            "Leave out --resume to begin one."
        )
    return url


def _identity(asked: Asked, subject: Subject) -> dict[str, str]:
    """What has to be the same for all workers, by names that people understand."""
    judged = subject.metric
    metric = judged and [judged.name, fingerprint.of_function(judged.function)]
    training = fingerprint.of_training(asked.training) if asked.epochs else None
    options = [str(asked.scale), asked.samples, metric, asked.minimize, training]
    return {
        "model": subject.model_sha256,
        "data": subject.data_sha256,
        "devices": digest.of_json(list(map(fingerprint.of_profile, subject.profiles.values()))),
        "options": digest.of_json(options),
    }


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

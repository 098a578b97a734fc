"""The search for the fastest file that keeps the accuracy, with its page for people."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeprune.core.data import Scale
from edgeprune.core.durations import read_duration
from edgeprune.core.progress import Progress, no_progress
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.training.settings import Training
from edgeprune.report.search_page import search_page
from edgeprune.searching.asked import Asked
from edgeprune.searching.budget import Budget
from edgeprune.searching.folder import SEARCH_FILES, Pages
from edgeprune.searching.result import Search
from edgeprune.searching.run import Audience
from edgeprune.searching.search import run_search
from edgeprune.targets.measurement import Settings

PAGES: Pages = MappingProxyType({SEARCH_FILES[1]: search_page})
"""What is written beside `search.json`."""


def search(
    model: Any,
    devices: str | Sequence[str | Path | DeviceProfile],
    data: Any,
    folder: str | Path | None = None,
    *,
    validation_data: Any = None,
    routes: str | Sequence[str] | None = None,
    max_drop: float | None = None,
    min_accuracy: float | None = None,
    max_bytes: int | None = None,
    max_cost: float | None = None,
    metric: str | Callable[[Any, Any], Any] | None = None,
    minimize: bool = False,
    epochs: int = 0,
    trials: int | None = None,
    time: str | float | None = None,
    storage: str | None = None,
    seed: int = 0,
    resume: bool = False,
    target: str | None = None,
    scale: Scale = "auto",
    samples: int | None = None,
    training: Training | None = None,
    settings: Settings | None = None,
    signature: str | None = None,
    progress: Progress = no_progress,
) -> Search:
    """Searches for the file that costs least on a device and keeps the accuracy.

    Routes, sparsities and, with `epochs`, training are tried in stages, the cheapest first: cost
    tables, the device's instrument, one shot on a part of the samples and on all, training. Every
    file of the result was validated and run in the real runtime. One half of the labelled samples
    selects, the other one reports.

    Writes, into `folder`: `search.json`, `search.html`, and the files of the fronts into `front`.
    A search that is there already, of the same model and data and with the same arguments, is
    joined and goes on; other processes and machines may do so while it runs.

    Args:
      model: a built Keras model, or the path of its file, of a .tflite file or of a SavedModel
        folder.
      devices: profiles, their names, or paths of users' own `.toml` files; text has commas.
      data: samples of any kind that `open_source` takes; those without labels serve for pruning.
      folder: is made if its parent exists; if None, nothing is kept but what is returned.
      validation_data: labelled samples that files are judged by; if None, `x_test` and `y_test` of
        the data, else every fifth of its labelled samples, which then serve for nothing else.
      routes: names of routes to search on; all of each device if None. Text has commas.
      max_drop: accuracy that may be lost against the dense float model, such as 0.01.
      min_accuracy: the lowest accuracy; in place of `max_drop`.
      max_bytes: the largest file.
      max_cost: the highest cost, in the unit in which the devices are measured.
      metric: takes the place of accuracy: a function of labels and outputs, or its name as
        `module:function` or `path/to/file.py:function`.
      minimize: whether less of the metric is better.
      epochs: of training for the few that may win by it; 0 for none.
      trials: most candidates that are evaluated in full; no limit if None.
      time: when to end, as `45m` or in seconds; when nothing is left to try if None.
      storage: address of a database that workers share, as SQLAlchemy takes it; a file in
        `folder` if None.
      seed: of the search and of training.
      resume: whether there has to be a search to go on with.
      target: the instrument; of each device the first of its own that is ready if None, and its
        cost table where there is none.
      scale: what uint8 data is scaled by.
      samples: most samples that plans and one shot take; `RECONSTRUCTION_SAMPLES` if None.
      training: how to train, except for the number of epochs.
      settings: how to measure.
      signature: of a SavedModel folder that has several, the one that is taken.
      progress: told what is done.

    Raises:
      DataError: the budget needs labels and there are none.
      InputError: bad model, data, device, route, number or folder, a storage that cannot be reached
        or holds another search, before any work.
      TargetError: the target is unknown, not ready or does not measure a device.
    """
    asked = Asked(
        model=model,
        devices=devices.split(",") if isinstance(devices, str) else devices,
        data=data,
        validation_data=validation_data,
        routes=routes.split(",") if isinstance(routes, str) else routes,
        budget=Budget(max_drop, min_accuracy, max_bytes, max_cost),
        metric=metric,
        minimize=minimize,
        epochs=epochs,
        trials=trials,
        seconds=None if time is None else read_duration(time),
        storage=storage,
        seed=seed,
        resume=resume,
        target=target,
        scale=scale,
        samples=samples,
        training=training,
        settings=settings,
        signature=signature,
    )
    audience = Audience(progress=progress, pages=PAGES)
    if folder is not None:
        return run_search(asked, Path(folder), audience)
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as place:
        return _without_files(run_search(asked, Path(place), audience))


def _without_files(search: Search) -> Search:
    return replace(search, fronts=tuple(front.without_files() for front in search.fronts))

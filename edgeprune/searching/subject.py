"""What is searched for: a model, its samples and how they are used, all looked at before any work.

Labels are for judging files: one half of the labelled samples selects among candidates, the other
reports. Samples to prune and calibrate by need none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.conversion.from_keras import MAX_CALIBRATION_SAMPLES
from edgeprune.conversion.given import Given, as_given
from edgeprune.conversion.routes_of_given import routes_for
from edgeprune.core import digest
from edgeprune.core.data import Data, Ports, Scale
from edgeprune.core.errors import ProfileError
from edgeprune.core.sources import (
    AnySource,
    Stream,
    Table,
    hold_out,
    open_with_test,
)
from edgeprune.inspection.labels import no_labels, require_classes
from edgeprune.inspection.metric import Metric, open_metric
from edgeprune.keras_model.layers import Model
from edgeprune.keras_model.ports import ports_of
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.pruning.dense_accuracy import LOOKED_AT, warn_at_chance
from edgeprune.pruning.reconstruct.samples import most_samples
from edgeprune.pruning.training.settings import Training
from edgeprune.searching.budget import Budget
from edgeprune.searching.fingerprint import of_given
from edgeprune.searching.halves import Labelled, in_halves
from edgeprune.targets.measurement import Settings


@dataclass(frozen=True, eq=False)
class Subject:
    """A model, its samples, and what holds for every candidate."""

    given: Given
    profiles: Mapping[str, DeviceProfile]
    """By name, each with all its routes."""
    train: AnySource
    """Samples that are pruned by and trained on, with or without labels."""
    samples: Data
    """Those of them that one shot takes, in memory and without labels."""
    calibration: Data
    """Those by which int8 files are calibrated, as `export` takes them of all."""
    held_out: bool
    """Whether the labelled samples are every fifth of those that were given."""
    selecting: Labelled | None
    """Labelled samples that candidates are chosen by; None where there are no labels."""
    reporting: Labelled | None
    """Labelled samples that chosen files are reported on."""
    metric: Metric | None
    """In place of accuracy."""
    scale: Scale
    training: Training | None
    """How candidates with epochs train, but for their number; defaults if None."""
    most: int | None
    """Most samples that one shot takes; the default if None."""
    settings: Settings
    """How to measure."""
    seed: int
    model_sha256: str
    data_sha256: str

    @property
    def model(self) -> Model:
        """The Keras model, lifted where a .tflite file was given."""
        return self.given.model

    @property
    def name(self) -> str:
        """The path of the model, or its own name."""
        return self.given.name

    def profile(self, device: str) -> DeviceProfile:
        """The profile of a device.

        Raises:
          ProfileError: it is none of those that are searched on.
        """
        if device not in self.profiles:
            raise ProfileError(
                f"Expected one of the devices of this search: {', '.join(self.profiles)}. "
                f"Received: {device}."
            )
        return self.profiles[device]


def open_subject(
    model: Any,
    data: Any,
    devices: Sequence[str | Path | DeviceProfile],
    *,
    budget: Budget,
    validation_data: Any = None,
    metric: str | Callable[[Any, Any], Any] | None = None,
    minimize: bool = False,
    scale: Scale = "auto",
    samples: int | None = None,
    training: Training | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    signature: str | None = None,
    routes: Sequence[str] = (),
) -> Subject:
    """Opens everything that a search is made from, and looks at it.

    Labelled samples are `validation_data`, else `x_test` and `y_test` of the data; where neither is
    there and the data has labels, every fifth sample of it, which is then used for nothing else.

    Args:
      model: a built Keras model, or the path of its file, of a .tflite file or of a SavedModel
        folder.
      data: samples of any kind that `open_source` takes.
      devices: profiles, their names, or paths of users' own `.toml` files.
      budget: what a file may cost, which says whether labels are needed.
      validation_data: labelled samples, as `data`.
      metric: `module:function`, `path/to/file.py:function` or a function of labels and outputs,
        which takes the place of accuracy; more is better.
      minimize: whether less of the metric is better.
      scale: what uint8 data is scaled by.
      samples: most samples that one shot takes; the default if None.
      training: how candidates with epochs train.
      settings: how to measure.
      seed: of the search and of training.
      signature: of a SavedModel folder that has several, the one that is taken.
      routes: names of those that are asked for; all if empty.

    Warns:
      QualityWarning: the dense model is no better than chance on the labelled samples.

    Raises:
      ProfileError: a file keeps its number format, and a device or a route that is asked for has
        another one.
      DataError: the budget needs labels and there are none, they are no classes and there is no
        metric, or the metric cannot be called.
      InputError: the model, the data or a device cannot be read; `samples` is no number.
    """
    listed = [load_profile(device) for device in devices]
    measure = None if metric is None else open_metric(metric, minimize=minimize)
    most = most_samples(samples)
    given = as_given(model, signature)
    profiles = {found.name: routes_for(given, found, routes) for found in listed}
    ports = ports_of(given.model)
    train, test, held_out = _with_labels(data, ports, validation_data, scale)
    if test is None and budget.needs_labels:
        raise no_labels(data if validation_data is None else validation_data)
    halves: tuple[Labelled | None, Labelled | None] = (None, None)
    if test is not None:
        if measure is None:
            require_classes(test, ports, _GIVE_METRIC)
            warn_at_chance(given.model, test.some(LOOKED_AT), given.name)
        halves = in_halves(test)
    return Subject(
        given=given,
        profiles=profiles,
        train=train,
        samples=replace(train.some(most), y=None),
        calibration=replace(train.some(MAX_CALIBRATION_SAMPLES), y=None),
        held_out=held_out,
        selecting=halves[0],
        reporting=halves[1],
        metric=measure,
        scale=scale,
        training=training,
        most=samples,
        settings=settings or Settings(),
        seed=seed,
        model_sha256=of_given(given),
        data_sha256=digest.of_json([_content(each) for each in (train, test) if each is not None]),
    )


def _with_labels(
    data: Any, ports: Ports, validation: Any, scale: Scale
) -> tuple[AnySource, Labelled | None, bool]:
    """The samples to prune and train by, and the labelled ones; None where there are no labels.

    The last says whether these are some of the samples that were given, which are left out there.
    """
    everything, test = open_with_test(data, ports, validation=validation, scale=scale)
    held_out = test is None and _is_labelled(everything)
    if held_out:
        split = hold_out(everything)
        everything, test = split.train, split.test
    everything = everything if isinstance(everything, Stream) else everything.readable()
    if test is None or isinstance(test, Stream) or not test.labelled:
        return everything, None, held_out
    return everything, test.readable(), held_out


def _is_labelled(source: AnySource) -> bool:
    return source.some(1).labelled if isinstance(source, Stream) else source.labelled


_GIVE_METRIC = "For other models and labels, name what judges them: --metric module:function."


def _content(source: AnySource) -> list[str]:
    """Digests of inputs, labels and scales, the same on every machine that has the samples.

    Those of a stream count in any order, since it may be shuffled each time.
    """
    if isinstance(source, Table):
        scales = repr([spec.scale_by(source.scale) for spec in source.specs])
        return [digest.of_parts(source.content()), digest.of_arrays(source.labels), scales]
    if isinstance(source, Data):
        return [digest.of_arrays(source.x), digest.of_arrays(source.labels)]
    total = 0
    for chunk in source.chunks(_CHUNK):
        for row in range(len(chunk)):
            one = chunk.take(np.array([row]))
            total += int(digest.of_arrays((*one.x, *one.labels)), 16)
    return [f"{total % (1 << 256):x}"]


_CHUNK = 256
"""Samples of a stream that are read at a time."""

"""The weights of a candidate: pruned in one shot, or trained; kept where others may want the same.

What one shot makes depends on what a plan does to each layer, not on the number format. So routes
of several formats, and costs so close that the same channels go, share one pruned model.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

from edgeprune.core import digest
from edgeprune.core.data import Data
from edgeprune.core.errors import InputError, ModelError
from edgeprune.core.plan import Plan
from edgeprune.core.progress import Progress
from edgeprune.keras_model.files import load_model, save_model
from edgeprune.keras_model.interface import predict
from edgeprune.keras_model.layers import Model, can_rebuild
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.pruning.carry_out import aware_where_dense, prune
from edgeprune.pruning.finetune import answers_mirrored_alike
from edgeprune.pruning.training.checkpoint import FILE
from edgeprune.pruning.training.settings import Training
from edgeprune.searching import fingerprint
from edgeprune.searching.cache import Cache
from edgeprune.searching.subject import Subject

MOST_KEPT = 50_000_000
"""Weights of a model from which it is not kept: 200 MB for each candidate."""
MIRROR_SAMPLES = 128
"""Samples that tell whether images may be mirrored in training."""


def in_one_shot(
    subject: Subject, plan: Plan, samples: Data | None, cache: Cache, progress: Progress
) -> Model:
    """The model pruned in one shot; the one that is kept, if another candidate had the same done.

    Args:
      subject: what is searched for.
      plan: what is pruned.
      samples: what it is pruned by; by magnitude if None, which takes no time and is not kept.
      cache: where models are kept.
      progress: told what is done.

    Raises:
      EdgepruneError: as `prune`.
    """
    path = cache.model(_effect(subject, plan, samples))
    if samples is not None and path.exists():
        with contextlib.suppress(ModelError):  # layers of a user's own that Keras cannot load
            return load_model(path)
    model = prune(subject.model, plan, samples, samples=subject.most, progress=progress)
    if samples is not None and can_rebuild(model) and model.count_params() <= MOST_KEPT:
        cache.make(path.parent)
        save_model(model, path)
    return model


def _effect(subject: Subject, plan: Plan, samples: Data | None) -> str:
    """By what a pruned model is known again."""
    rows = [[row.path, str(row.pattern), row.sparsity, row.after] for row in plan.layers]
    changes = [each.model_dump() for each in (*plan.padding, *plan.activation)]
    by = None if samples is None else digest.of_arrays(samples.x)
    return digest.of_json([subject.model_sha256, fingerprint.of_versions(), by, rows, changes])


def trained(
    subject: Subject,
    plan: Plan,
    epochs: int,
    profile: DeviceProfile,
    cache: Cache,
    progress: Progress,
) -> Model:
    """The model trained by a plan; where that was interrupted on this machine, it goes on.

    Args:
      subject: what is searched for.
      plan: what is pruned.
      epochs: of training.
      profile: the device on the route of the plan.
      cache: where the state of training is kept.
      progress: told what is done.

    Raises:
      EdgepruneError: as `prune`.
    """
    training = aware_where_dense(training_of(subject, epochs), plan, subject.model)
    how = [_effect(subject, plan, None), plan.numerics, fingerprint.of_training(training)]
    place = cache.training(digest.of_json([*how, subject.data_sha256]))
    cache.make(place.parent)
    try:
        model = _train(subject, plan, profile, training, place, progress)
    except InputError:
        if not (place / FILE).exists():
            raise
        shutil.rmtree(place, ignore_errors=True)  # damaged, or of another run after all
        model = _train(subject, plan, profile, training, place, progress)
    shutil.rmtree(place, ignore_errors=True)
    return model


def _train(
    subject: Subject,
    plan: Plan,
    profile: DeviceProfile,
    training: Training,
    place: Path,
    progress: Progress,
) -> Model:
    resumed = replace(training, checkpoint=place, resume=(place / FILE).exists())
    return prune(subject.model, plan, subject.train, resumed, device=profile, progress=progress)


def training_of(subject: Subject, epochs: int) -> Training:
    """How candidates of a search train.

    Where nobody said how, images are mirrored and moved if the dense model answers mirrored ones
    alike.

    Args:
      subject: what is searched for.
      epochs: at least 1.
    """
    if subject.training is not None:
        return replace(subject.training, epochs=epochs)
    some = list(subject.samples.some(MIRROR_SAMPLES).x)
    mirrors = answers_mirrored_alike(subject.model, some, predict(subject.model, some))
    return Training(epochs=epochs, augment="flip-shift" if mirrors else "none", seed=subject.seed)

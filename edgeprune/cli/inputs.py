"""What several commands make of their arguments: samples, a plan, and how to train."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import terminal
from edgeprune.core.errors import quality_warnings, told_quality_warnings

if TYPE_CHECKING:
    from edgeprune.conversion.given import Given
    from edgeprune.core.data import Ports, Scale
    from edgeprune.core.plan import Plan
    from edgeprune.core.sources import AnySource
    from edgeprune.profiles.profile import DeviceProfile
    from edgeprune.pruning.training.settings import Training


def read_device(words: str, runtime: str | None = None) -> DeviceProfile:
    """The profile of `--device`; says on standard error which one a product's name was taken as.

    With `--runtime` it is the profile for that runtime alone.
    """
    from edgeprune.profiles.folder import profile_names
    from edgeprune.profiles.profile import load_profile

    profile = load_profile(words)
    if words not in profile_names() and not words.endswith(".toml"):
        found = ", ".join(dict.fromkeys(named_products(words, profile))) or profile.device
        terminal.say(f"'{words}' is taken as {profile.name}: {found}.")
    return profile.in_runtime(runtime)


def require_one_aim(sparsity: float | None, cost: float | None) -> None:
    """Checks that not both a sparsity and a cost are asked for.

    Raises:
      click.UsageError: they are.
    """
    if sparsity is not None and cost is not None:
        raise click.UsageError("--sparsity and --cost both say how much is removed: give one.")


def device_names(text: str) -> list[str]:
    """What `--devices` names, with commas.

    Raises:
      click.UsageError: nothing is named.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise click.UsageError("--devices: expected names with commas. Received: none.")
    return names


def read_devices(names: Iterable[str]) -> list[DeviceProfile]:
    """The profiles of `--devices`; two products of one profile are one device."""
    profiles: list[DeviceProfile] = []
    for name in names:
        profile = read_device(name)
        if profile in profiles:
            terminal.say(f"'{name}' is {profile.name} too: compared once.")
        else:
            profiles.append(profile)
    return profiles


def named_products(words: str, profile: DeviceProfile) -> tuple[str, ...]:
    """The first few products of a profile that words mean, each with its chip."""
    from edgeprune.profiles.matching import find
    from edgeprune.profiles.profile import listed_products

    found = [entry.hardware for entry in find(words, listed_products([profile]))]
    more = (f"{len(found) - _MAX_NAMED} more",) if len(found) > _MAX_NAMED else ()
    return (*(f"{each.name} ({each.chip})" for each in found[:_MAX_NAMED]), *more)


_MAX_NAMED = 3
"""Products that are named where words mean several."""


def require_data_of_samples(path: Path | None, count: int | None) -> None:
    """Requires `--data` where `--samples` says how many to take of it."""
    if count is not None and path is None:
        raise click.UsageError("--samples says how many to take of --data: give both.")


def open_samples(
    path: Path | None,
    ports: Ports,
    scale: Scale,
    *,
    labels: bool = False,
    without_held_out: bool = False,
) -> AnySource | None:
    """The samples of `--data`, if it was given, for a model with these inputs and outputs.

    Says on standard error how they are scaled, and what looks wrong with them.

    Args:
      path: of the samples.
      ports: the inputs and outputs of the model.
      scale: what uint8 data is scaled by.
      labels: whether labels are required.
      without_held_out: whether those are left out that files are judged by elsewhere.
    """
    if path is None:
        if without_held_out:
            raise click.UsageError("--hold-out leaves out samples of --data: give both.")
        return None
    from edgeprune.core.sources import Stream, hold_out, open_source

    with quality_warnings() as caught:
        found = open_source(path, ports, scale=scale, labels=labels)
        if isinstance(found, Stream) and found.again:
            found.some(1)
    if found.scaling:
        terminal.say(found.scaling)
    terminal.warn(caught)
    return hold_out(found).train if without_held_out else found


@contextlib.contextmanager
def telling_warnings() -> Iterator[None]:
    """Tells at once what is wrong with samples as they are read, such as images left out."""
    with told_quality_warnings(lambda message: terminal.warn([message])):
        yield


def loaded_model(model: Path, signature: str | None) -> Given:
    """The MODEL of a command line, opened.

    Says on standard error what was made of a SavedModel, as `given_file`, and what pruning leaves
    alone in a file.
    """
    file = given_file(model, signature)
    from edgeprune.conversion.given import as_given

    given = as_given(file, name=str(model))
    if given.untouched:
        terminal.say(given.untouched)
    return given


def model_or_path(model: Path, signature: str | None) -> Given | Path:
    """The MODEL of a command that opens it late: a SavedModel folder opened, else the path."""
    from edgeprune.core.files import is_saved_model

    if is_saved_model(model):
        return loaded_model(model, signature)
    return given_file(model, signature)


def given_file(model: Path, signature: str | None) -> Path:
    """The file of MODEL: itself, or what a SavedModel folder is converted to, said on stderr.

    Raises:
      click.UsageError: a signature is named of another kind of model.
    """
    from edgeprune.core.files import is_saved_model

    if is_saved_model(model):
        from edgeprune.conversion.saved_model import converted_folder

        found = converted_folder(model, signature)
        terminal.say(found.told)
        return found.path
    if signature is not None:
        raise click.UsageError(
            f"--signature is for SavedModel folders, and {model} is none: leave it out."
        )
    return model


def plan_as_asked(given: Given, profile: DeviceProfile, **asked: Any) -> Plan:
    """A plan for a model, by the options that say what is asked."""
    from edgeprune.planning.plan_model import plan

    return plan(given, profile, **asked)


def require_epochs(epochs: int, quantize_aware: bool | None) -> None:
    """Checks that there is training where it is to be quantisation-aware.

    Raises:
      click.UsageError: there is none.
    """
    if quantize_aware and not epochs:
        raise click.UsageError("--quantize-aware is a way of training: give --epochs.")


def training_of(epochs: int, given: dict[str, Any], **more: Any) -> Training | None:
    """How to train, by the options that were given; None if no epochs were asked for."""
    if not epochs:
        return None
    from edgeprune.pruning.training.distill import Distillation
    from edgeprune.pruning.training.settings import Training

    chosen = {name: value for name, value in given.items() if value is not None}
    if "distill" in chosen:
        chosen["distillation"] = Distillation(chosen.pop("distill"))
    return Training(epochs=epochs, **chosen, **more)

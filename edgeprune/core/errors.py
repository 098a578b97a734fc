"""Every error that edgeprune raises on purpose, and the exit code each one ends a command with.

    EdgepruneError
    ├── InputError            2  an input cannot be used
    │   ├── ProfileError         a device profile: unknown name, unreadable file, wrong key or value
    │   ├── PatternError         a pattern that does not parse or does not fit
    │   ├── PlanError            a plan that does not parse or does not fit the model
    │   ├── ModelError           a Keras model that cannot be read, followed or converted
    │   ├── TfliteError          a .tflite file that does not parse
    │   ├── DataError            arrays that are missing, mis-shaped or not finite
    │   └── OutputError          a place that cannot be written to
    ├── TargetError           2  an instrument that is unknown or not installed
    └── CheckError            1  a check of a result failed

A message names its subject (file, layer, tensor), what was expected, what was received and how to
fix it. The command line prints it without a traceback.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any


class EdgepruneError(Exception):
    """Base class of every error that edgeprune raises on purpose."""

    exit_code = 2


class InputError(EdgepruneError):
    """An input cannot be used."""


class ProfileError(InputError):
    """A device profile is unknown, unreadable or does not follow the schema."""


class PatternError(InputError):
    """A pattern does not parse, or does not fit what it was asked for."""


class PlanError(InputError):
    """A plan does not parse, or does not fit the model."""


class ModelError(InputError):
    """A Keras model cannot be read, followed or converted."""


class TfliteError(InputError):
    """A .tflite file does not parse."""


class DataError(InputError):
    """Arrays are missing, have the wrong shape, or hold values that are not finite."""


class OutputError(InputError):
    """A file or folder cannot be written."""


class TargetError(EdgepruneError):
    """An instrument is unknown or not installed."""


class CheckError(EdgepruneError):
    """A check of a result failed."""

    exit_code = 1


def kind_of(error: EdgepruneError) -> str:
    """The name of an error's class in the tree above; others are told apart by code alone."""
    own = (each.__name__ for each in type(error).__mro__ if each.__module__ == __name__)
    return next(own)


@contextlib.contextmanager
def errors_name(given: object, made: object) -> Iterator[None]:
    """Errors of a block name what a person gave in place of what was made of it.

    Args:
      given: a path or another name that the person knows.
      made: the path of a file that only lies there for a while.
    """
    try:
        yield
    except EdgepruneError as error:
        error.args = tuple(str(each).replace(str(made), str(given)) for each in error.args)
        raise


class QualityWarning(UserWarning):
    """The result is valid, but less accurate than it could be."""


@contextlib.contextmanager
def told_quality_warnings(tell: Callable[[str], None]) -> Iterator[None]:
    """Passes every quality warning of a block on as text, at once, instead of showing it."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *more: Any, **options: Any) -> None:
        if issubclass(category, QualityWarning):
            tell(str(message))
        else:
            shown(message, category, *more, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("always", QualityWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def quality_warnings() -> Iterator[list[str]]:
    """Collects the quality warnings of a block as text; the list is filled when the block ends."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", QualityWarning)
        yield messages
    messages.extend(
        str(warning.message) for warning in caught if warning.category is QualityWarning
    )

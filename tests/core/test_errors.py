from __future__ import annotations

import warnings

import pytest

from edgeprune.core import errors
from edgeprune.core.errors import QualityWarning, quality_warnings

EXIT_CODES = {
    "EdgepruneError": 2,
    "InputError": 2,
    "ProfileError": 2,
    "PatternError": 2,
    "PlanError": 2,
    "ModelError": 2,
    "TfliteError": 2,
    "DataError": 2,
    "OutputError": 2,
    "TargetError": 2,
    "CheckError": 1,
}
"""As the command line promises."""


def test_every_error_has_the_exit_code_that_is_promised() -> None:
    found = {
        name: thing.exit_code
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, errors.EdgepruneError)
    }
    assert found == EXIT_CODES


def test_what_cannot_be_used_is_an_input_error_and_a_failed_check_is_not() -> None:
    inputs = {
        error.__name__
        for error in errors.InputError.__subclasses__()
        if error.__module__ == errors.__name__
    }
    assert inputs == EXIT_CODES.keys() - {
        "EdgepruneError",
        "InputError",
        "TargetError",
        "CheckError",
    }


def test_every_error_stands_in_the_tree_that_the_module_shows() -> None:
    assert errors.__doc__ is not None
    for name, code in EXIT_CODES.items():
        (line,) = [line for line in errors.__doc__.splitlines() if f" {name} " in f"{line} "]
        assert name == "EdgepruneError" or code == 2 or f" {code} " in line


def test_a_quality_warning_is_collected_every_time_once_the_block_ends() -> None:
    with quality_warnings() as messages:
        for _ in range(2):
            warnings.warn("few samples", QualityWarning, stacklevel=1)
        assert messages == []
    assert messages == ["few samples", "few samples"]


def test_outside_its_block_a_quality_warning_is_a_warning() -> None:
    with quality_warnings():
        pass
    with pytest.warns(QualityWarning, match="few samples"):
        warnings.warn("few samples", QualityWarning, stacklevel=1)


def test_errors_name_what_was_given_in_place_of_what_was_made_of_it() -> None:
    with (
        pytest.raises(errors.TfliteError, match=r"^mine\.tflite: too short$"),
        errors.errors_name("mine.tflite", "made/mine.tflite"),
    ):
        raise errors.TfliteError("made/mine.tflite: too short")

"""Frozen tables read from TOML or JSON, and readable messages for invalid ones.

People write device profiles and plans by hand, so an unknown key is an error that names the closest
valid one, instead of a setting that silently does nothing.
"""

from __future__ import annotations

import math
import reprlib
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)

from edgeprune.core.errors import PatternError
from edgeprune.core.pattern import Pattern, parse_pattern
from edgeprune.core.spelling import suggestion


class Table(BaseModel):
    """A frozen table; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _pattern_from_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_pattern(value)
    except PatternError as error:
        raise ValueError(str(error)) from error


WrittenPattern = Annotated[
    Pattern, BeforeValidator(_pattern_from_text), PlainSerializer(str, return_type=str)
]
"""A pattern, written to files as text such as `"Block(2,1)"`."""

Text = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
MAX_COUNT = 2**63 - 1
"""The largest whole number of a table: what a device or a shape counts fits into 64 bits."""
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Index = Annotated[int, Field(ge=0, le=MAX_COUNT)]
_MAX_PROBLEMS = 20
"""Problems of one table that are told of; more are counted."""
_MAX_SHOWN = 200
"""Characters of what was received that are shown."""


def explain_invalid(error: ValidationError, table: type[Table]) -> str:
    """One line per problem: the key, the value received and, for an unknown key, the closest one.

    Args:
      error: as Pydantic raised it.
      table: the class that was validated, whose keys are suggested.
    """
    lines = [problem.message for problem in problems_of(error, table)]
    if error.error_count() > _MAX_PROBLEMS:
        lines.append(f"{error.error_count() - _MAX_PROBLEMS} more problems follow.")
    return "\n".join(lines)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one key of a table."""

    location: tuple[str | int, ...]
    """The key, behind the tables and places in lists that it is in; empty for the whole table."""
    message: str
    """Key, expectation and what was received, in a sentence."""
    expected: str
    received: str | None
    """None if the key is missing."""

    @property
    def key(self) -> str:
        """The key as it is written in messages, such as `limits.flash_bytes.value`."""
        return _key(self.location)


def problems_of(error: ValidationError, table: type[Table]) -> tuple[Problem, ...]:
    """The first problems of a table; see `explain_invalid`."""
    found = error.errors(include_url=False)[:_MAX_PROBLEMS]
    return tuple(
        Problem(
            location=problem["loc"],
            message=_explain(problem, table),
            expected=_expected(problem, table),
            received=None if problem["type"] == "missing" else _received(problem["input"]),
        )
        for problem in found
    )


def _expected(problem: Any, table: type[Table]) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return f"one of the keys {', '.join(_keys_at(table, problem['loc'][:-1]))}"
        case "missing":
            return "this key, which has no default"
        case "value_error":
            return str(problem["ctx"]["error"]).rstrip(".")
        case _:
            return str(problem["msg"]).removeprefix("Input should ").removeprefix("be ")


def _key(location: Iterable[str | int]) -> str:
    return _shortened(".".join(str(part) for part in location))


def _explain(problem: Any, table: type[Table]) -> str:
    where = _key(problem["loc"])
    match problem["type"]:
        case "json_invalid":
            return f"expected JSON. Received: {problem['ctx']['error']}."
        case "extra_forbidden":
            valid = _keys_at(table, problem["loc"][:-1])
            near = suggestion(_shortened(str(problem["loc"][-1])), valid)
            return f"unknown key '{where}'.{near} Valid keys there: {', '.join(valid)}."
        case "missing":
            return f"key '{where}' is missing."
        case "value_error" if not where:
            return _sentence(str(problem["ctx"]["error"]))
        case "value_error":
            return _sentence(f"key '{where}': {problem['ctx']['error']}")
        case _:
            key = f"key '{where}': " if where else ""
            return f"{key}{problem['msg']}. Received: {_received(problem['input'])}."


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _received(value: object) -> str:
    """What was received, in short, however long or deep it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = _MAX_SHOWN
    if isinstance(value, int) and value.bit_length() > MAX_COUNT.bit_length():
        return f"a number of {value.bit_length()} bits"
    return _shortened(short.repr(value))


def not_finite(content: Any) -> str | None:
    """The key of the first number that is NaN or infinite, such as `layers.0.error`; None if none.

    Args:
      content: dictionaries, lists and values, as a table is dumped.
    """
    if isinstance(content, float) and not math.isfinite(content):
        return ""
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(content, dict):
        inside = content.items()
    elif isinstance(content, (list, tuple)):
        inside = enumerate(content)
    found = ((key, not_finite(value)) for key, value in inside)
    return next((f"{key}.{rest}".rstrip(".") for key, rest in found if rest is not None), None)


def _sentence(text: str) -> str:
    return text.rstrip(".") + "."


def _keys_at(table: type[Table], location: tuple[int | str, ...]) -> tuple[str, ...]:
    for part in location:
        if isinstance(part, str):
            fields = {field.alias or name: field for name, field in table.model_fields.items()}
            table = table_in(fields[part].annotation) or table
    return tuple(field.alias or name for name, field in table.model_fields.items())


def table_in(annotation: Any) -> type[Table] | None:
    """The table class inside an annotation such as `tuple[Rule, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    inside = (table_in(argument) for argument in typing.get_args(annotation))
    return next((table for table in inside if table), None)

"""The keys of a table of the schema, with what each means and takes, read off the schema itself."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic.fields import FieldInfo

from edgeprune.core.schema import Table, table_in


@dataclass(frozen=True)
class Key:
    """A key as it is written in a file."""

    name: str
    field: str
    """Its name in the class."""
    meaning: str
    """The sentence below it in the class."""
    expects: str
    """What it takes, such as `text` or `list of tables`."""
    required: bool
    default: Any
    """None if it is required."""
    table: type[Table] | None
    """The class of the table or tables that it holds; None for other values."""


@cache
def keys_of(table: type[Table]) -> tuple[Key, ...]:
    """The keys of a table, in the order of the schema."""
    meanings = {name: text for base in reversed(table.__mro__) for name, text in _meanings(base)}
    schema = table.model_json_schema(by_alias=False, mode="serialization")
    return tuple(
        Key(
            name=field.alias or name,
            field=name,
            meaning=meanings.get(name, ""),
            expects=_expects(schema["properties"][name]),
            required=field.is_required(),
            default=None if field.is_required() else field.default,
            table=table_in(field.annotation),
        )
        for name, field in _fields(table).items()
    )


def _fields(table: type[Table]) -> Mapping[str, FieldInfo]:
    return table.model_fields


def _meanings(table: type) -> Iterator[tuple[str, str]]:
    """The fields that a class adds, each with the string below it."""
    if not (issubclass(table, Table) and table is not Table):
        return
    source = ast.parse(textwrap.dedent(inspect.getsource(table)))
    parts = [part for node in source.body for part in getattr(node, "body", ())]
    for field, below in pairwise(parts):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())


def _expects(schema: Mapping[str, Any]) -> str:
    """What a value has to be, in words, by its JSON schema."""
    match schema:
        case {"enum": values}:
            return " or ".join(f'"{value}"' for value in values)
        case {"const": value}:
            return f'"{value}"'
        case {"anyOf": choices}:
            kinds = [_expects(choice) for choice in choices if choice.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
        case {"type": "array", "items": items}:
            return f"list of {_plural(_expects(items))}"
        case {"type": "string"}:
            return "text"
        case {"type": "boolean"}:
            return "true or false"
        case {"type": "integer"}:
            return "a whole number"
        case {"type": "number"}:
            return "a number"
        case _:
            return "table"


def _plural(kind: str) -> str:
    return {"text": "texts", "table": "tables", "a number": "numbers"}.get(kind, kind)

"""Writes a profile as TOML with a comment for every key, as a profile of one's own to start from.

The comments are the schema's own sentences, so that they cannot drift from it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from edgeprune.core.schema import Table
from edgeprune.profiles.channel_cost import MeasuredOutputs, PaddedOutputs
from edgeprune.profiles.facts import Limit
from edgeprune.profiles.hardware import Hardware
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import Gain
from edgeprune.profiles.schema_keys import Key, keys_of

WIDTH = 100
_INLINE: frozenset[type[Table]] = frozenset({Gain, Hardware, Limit, MeasuredOutputs, PaddedOutputs})
"""Tables that are written on one line, in braces."""


def to_toml(profile: DeviceProfile, *introduction: str) -> str:
    """The text of a profile's file, which `load_profile` reads back as an equal one.

    Args:
      profile: what is written.
      introduction: sentences above it.
    """
    lines = [line for text in introduction for line in _comment(text, "")]
    lines += _table(profile, "", "", frozenset())
    return "\n".join(lines).strip("\n") + "\n"


def _table(value: Table, path: str, indent: str, told: frozenset[type[Table]]) -> Iterator[str]:
    """The lines of a table: plain keys first, then tables inside it.

    Args:
      value: the table.
      path: its name in brackets; empty for the file's own.
      indent: spaces before every line.
      told: classes whose keys have their comments further above.
    """
    keys = keys_of(type(value))
    plain = [key for key in keys if _is_plain(key, getattr(value, key.field))]
    for key in plain:
        yield from _plain(key, value, indent, told=type(value) in told)
    for key in keys:
        if key not in plain:
            yield from _inner(key, value, path, indent, told)


def _is_plain(key: Key, found: Any) -> bool:
    """Whether a value is written behind an equals sign, and not below a header of its own."""
    return key.table is None or key.table in _INLINE or (key.required and found == ())


def _plain(key: Key, value: Table, indent: str, *, told: bool) -> Iterator[str]:
    found = getattr(value, key.field)
    left_out = not key.required and found == key.default
    if not told:
        if not indent:
            yield ""
        yield from _comment(_explanation(key, left_out), indent)
    if left_out:
        return
    if isinstance(found, tuple) and key.table is not None and len(found) > 1:
        yield f"{indent}{key.name} = ["
        yield from (f"{indent}  {_value(entry)}," for entry in found)
        yield f"{indent}]"
    else:
        yield f"{indent}{key.name} = {_value(found)}"


def _inner(
    key: Key, value: Table, path: str, indent: str, told: frozenset[type[Table]]
) -> Iterator[str]:
    """The lines of a table, or of several, inside another."""
    found = getattr(value, key.field)
    if not key.required and found == key.default:
        if type(value) not in told:
            yield ""
            yield from _comment(f"[{path}{key.name}] is left out. {key.meaning}", indent)
        return
    several = isinstance(found, tuple)
    for entry in found if several else (found,):
        deeper = f"{indent}  " if path else ""
        yield ""
        if type(entry) not in told:
            yield from _comment(key.meaning, deeper)
        name = f"{path}{key.name}"
        yield f"{deeper}[[{name}]]" if several else f"{deeper}[{name}]"
        yield from _table(entry, f"{name}.", deeper, told)
        told |= {type(entry)}


def _explanation(key: Key, left_out: bool) -> str:
    text = f"{key.name}: {key.meaning} Takes {key.expects}."
    if key.table is not None:
        inner = " ".join(f"{part.name}: {part.meaning}" for part in keys_of(key.table))
        text += f" In braces: {inner}"
    if not left_out:
        return text
    default = f": the default is {_value(key.default)}" if key.default not in (None, ()) else ""
    return f"{text} Left out here{default}."


def _comment(text: str, indent: str) -> list[str]:
    width = WIDTH - len(indent)
    lead = f"{indent}# "
    return textwrap.wrap(
        text, width, initial_indent=lead, subsequent_indent=lead, break_on_hyphens=False
    )


def _value(value: Any) -> str:
    """A value in TOML."""
    match value:
        case Table():
            parts = (
                f"{key.name} = {_value(getattr(value, key.field))}"
                for key in keys_of(type(value))
                if key.required or getattr(value, key.field) != key.default
            )
            return f"{{ {', '.join(parts)} }}"
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case None:
            return '"unknown"'
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case _:
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")

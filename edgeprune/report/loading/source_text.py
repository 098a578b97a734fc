"""Text out of files in source code: names in comments, and literals that no language misreads."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from types import MappingProxyType

from edgeprune.report.loading.ways import Language
from edgeprune.tflite.c_array import c_identifier

WIDTH = 100
"""Columns of a line of comment."""
_ESCAPED: Mapping[Language, Mapping[str, str]] = MappingProxyType(
    {
        "kotlin": MappingProxyType({"$": "\\$"}),
        "cpp": MappingProxyType({"??": "?\\?"}),
        "c": MappingProxyType({"??": "?\\?"}),
    }
)
"""What has a meaning of its own in a string of a language, beside quotes and backslashes."""


def comment(text: str) -> str:
    """Text that stays on its line of comment: no line breaks, and no backslash that joins lines.

    A backslash before a `u` would be read as another character in Java, in comments too.
    """
    return "".join(c if c.isprintable() and c != "\\" else "?" for c in text)


def note(text: str, mark: str) -> str:
    """The same as lines of comment.

    Args:
      text: in one line.
      mark: what a comment begins with.
    """
    begin, go_on = f"{mark} ", f"{mark}   "
    lines = textwrap.wrap(comment(text), WIDTH, initial_indent=begin, subsequent_indent=go_on)
    return "\n".join(lines)


def literal(text: str, language: Language) -> str:
    """A string literal; characters that do not print become question marks."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    for special, written in _ESCAPED.get(language, {}).items():
        escaped = escaped.replace(special, written)
    return f'"{escaped}"'


def class_name(stem: str) -> str:
    """A class that is called after a file: `my-net 2` is `MyNet2Model`, `my-model` is `MyModel`."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", stem) if word]
    name = "".join(word[:1].upper() + word[1:] for word in words).removesuffix("Model")
    return f"{name if name[:1].isalpha() or not name else f'The{name}'}Model"


def function_prefix(stem: str) -> str:
    """What C functions of a file begin with: `my-net 2` is `my_net_2`, `7up` is `n7up`."""
    name = c_identifier(stem).removeprefix("g_").removesuffix("_data")
    return f"n{name}" if name[:1].isdigit() else name

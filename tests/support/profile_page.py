"""The tables of `docs/profiles.md`, written from the schema of device profiles."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprune.core.schema import Table
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.schema_keys import Key, keys_of


def tables(table: type[Table] = DeviceProfile, path: str = "") -> Iterator[tuple[str, type[Table]]]:
    """Every table of a profile by its path, such as `strategies.rules`; the file's own is ``."""
    yield path, table
    for key in keys_of(table):
        if key.table is not None:
            yield from tables(key.table, f"{path}.{key.name}".lstrip("."))


def page_table(table: type[Table]) -> str:
    """The keys of one table, as a table of the page."""
    rows = "\n".join(_row(key) for key in keys_of(table))
    return f"| key | takes | default | meaning |\n|---|---|---|---|\n{rows}\n"


def _row(key: Key) -> str:
    default = "required" if key.required else _shown(key.default)
    return f"| `{key.name}` | {key.expects} | {default} | {key.meaning} |"


def _shown(value: object) -> str:
    if isinstance(value, Table) or value in (None, ()):
        return "left out"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else _text(value)


def _text(value: object) -> str:
    return "all" if isinstance(value, tuple) else f"`{value}`"

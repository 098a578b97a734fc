"""What a shell offers behind a tab: devices and products, instruments, and files otherwise.

It has to be there at once, so names are read without the schema of profiles and without a runtime.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import get_args

import click
from click.shell_completion import CompletionItem

from edgeprune.core.terms import TargetName

_FILES = CompletionItem("", type="file")
"""Has the shell complete names of files."""


def complete_device(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Profiles and products that begin so; files if none does."""
    return [CompletionItem(name) for name in _devices(incomplete)] or [_FILES]


def complete_devices(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The same behind the last comma."""
    before, comma, last = incomplete.rpartition(",")
    found = [CompletionItem(f"{before}{comma}{name}") for name in _devices(last)]
    return found or [_FILES]


def complete_targets(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Instruments that begin so, behind the last comma."""
    before, comma, last = incomplete.rpartition(",")
    names = _beginning(get_args(TargetName), last)
    return [CompletionItem(f"{before}{comma}{name}") for name in names]


def complete_route(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Routes of the device that is named in front of the cursor; of every device if none is."""
    return [CompletionItem(name) for name in _beginning(_routes(context), incomplete)]


def complete_routes(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The same behind the last comma, of all devices that are named; `all` in the first place."""
    before, comma, last = incomplete.rpartition(",")
    names = (*_routes(context), *(() if comma else ("all",)))
    return [CompletionItem(f"{before}{comma}{name}") for name in _beginning(names, last)]


def _routes(context: click.Context) -> tuple[str, ...]:
    from edgeprune.profiles.folder import route_names

    named = context.params.get("device") or context.params.get("devices") or ""
    return route_names(tuple(filter(None, named.split(","))))


def complete_words(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """What `edgeprune devices` takes: its own commands in the first place, else devices."""
    group = context.parent.command if context.parent else None
    commands: Iterable[str] = ()
    if isinstance(group, click.Group) and not context.params.get("words"):
        commands = (name for name, command in group.commands.items() if not command.hidden)
    names = (*_beginning(commands, incomplete), *_devices(incomplete))
    return [CompletionItem(name) for name in names]


def _devices(incomplete: str) -> Iterator[str]:
    """Profiles, and once something is typed products too, in one word: `pixel-8`."""
    from edgeprune.profiles.folder import product_names, profile_names

    profiles = profile_names()
    yield from _beginning(profiles, incomplete)
    if incomplete:
        words = {word for name in product_names() for word in typed_names(name)}
        yield from _beginning(sorted(words.difference(profiles)), incomplete)


def typed_names(product: str) -> tuple[str, ...]:
    """A product's name in one word, with its maker and without: `google-pixel-8`, `pixel-8`.

    Nothing for the names of families, which hold placeholders.
    """
    if product.endswith("*") or re.search(r"\dx+$", product):
        return ()
    word = re.sub(r"[^a-z0-9.+]+", "-", product.lower()).strip("-")
    _, _, rest = word.partition("-")
    named = re.match(r"[a-z]{3}", rest) and re.search(r"[-0-9]", rest)
    return (word, rest) if named else (word,)


def _beginning(names: Iterable[str], incomplete: str) -> Iterator[str]:
    return (name for name in names if name.startswith(incomplete.lower()))

"""`edgeprune devices`, which needs no word before what it looks for."""

from __future__ import annotations

from typing import Any

import click

from edgeprune.cli import options, terminal
from edgeprune.cli.output import print_json

_SEARCH = "search"
"""The hidden command that takes words; it is never typed."""


class _Devices(click.Group):
    """Takes words in the place of a command: no device is called as one of the commands."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        words = [word for word in args if not word.startswith("-")]
        helped = not words and set(args) & set(context.help_option_names)
        if not helped and (not words or words[0] not in self.commands):
            args = [_SEARCH, *args]
        return super().parse_args(context, args)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(context, args)
        return "" if name == _SEARCH else name, command, rest


@click.group(
    "devices",
    cls=_Devices,
    subcommand_metavar="[WORDS]... [--json] | COMMAND [ARGS]...",
)
def devices_command() -> None:
    """List the devices: what each is and the pattern that pays there.

    With words, those that a product, chip or category means: edgeprune devices pixel 8, edgeprune
    devices nrf52840, edgeprune devices arduino.
    """


@devices_command.command(_SEARCH, hidden=True)
@click.argument("words", nargs=-1)
@options.json_document
def _search(words: tuple[str, ...], as_json: bool) -> None:
    """List the devices that words mean; all of them without words."""
    from edgeprune.profiles.devices import devices

    found = devices(words)
    if as_json:
        print_json(found.to_json())
        return
    if found.read_as != found.words:
        terminal.say(f"Read as '{found.read_as}'.")
    terminal.show_grids(found)
    for hint in found.hints:
        terminal.show(hint)

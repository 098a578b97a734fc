"""`edgeprune devices`, which needs no word before what it looks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.completion import complete_device, complete_words
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
@click.argument("words", nargs=-1, shell_complete=complete_words)
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


@devices_command.command("copy")
@click.argument("name", nargs=-1, required=True, shell_complete=complete_device)
@click.option("-o", "--output", type=options.PATH, required=True, metavar="MY.toml")
def _copy(name: tuple[str, ...], output: Path) -> None:
    """Write a profile of your own to start from: a copy of NAME with a comment for every key.

    NAME is a profile, a product such as 'pixel 8', or the path of a .toml file.
    """
    from edgeprune.core.files import require_folder, write_file
    from edgeprune.profiles.folder import profile_names
    from edgeprune.profiles.write_profile import to_toml

    if output.suffix != ".toml":
        raise click.BadParameter(f"expected a name that ends in .toml. Received: {output}.")
    require_folder(output)
    original = inputs.read_device(" ".join(name))
    own = _own_name(output.stem, profile_names())
    text = to_toml(
        original.model_copy(update={"name": own}),
        f"A device profile to start from: a copy of {original.name}. docs/profiles.md explains "
        "every key; keys that are left out have their defaults.",
        "Sources are those of the original: replace them where you replace what they are for.",
    )
    write_file(output, text.encode())
    terminal.show(f"{output}: device '{own}', a copy of {original.name}.")
    terminal.show(f"Next: edgeprune devices check {output}")


def _own_name(stem: str, taken: tuple[str, ...]) -> str:
    """A device's name after that of its file, and none that is taken."""
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("._-") or "my-device"
    return f"{name}-own" if name in taken else name


@devices_command.command("check")
@click.argument("path", type=options.PATH, metavar="MY.toml")
@options.json_document
def _check(path: Path, as_json: bool) -> None:
    """Judge a profile of your own: exit code 0 if every command takes it, else 2."""
    from edgeprune.core.errors import ProfileError
    from edgeprune.profiles.check_profile import check_profile

    found = check_profile(path)
    problems = "\n".join(f"{path}: {problem}" for problem in found.problems)
    if as_json:
        error = {"error": {"kind": ProfileError.__name__, "message": problems}}
        print_json({**found.to_json(), **({} if found.ok else error)})
    if not found.ok:
        raise ProfileError(problems)
    if as_json or found.profile is None:
        return
    terminal.show(f"{path}: good. Device '{found.profile.name}', {found.profile.device}.")
    for remark in found.remarks:
        terminal.show(f"Note: {remark}.")
    terminal.show(f"Next: edgeprune plan model.keras --device {path}")

"""What several commands print alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import terminal

if TYPE_CHECKING:
    from edgeprune.tflite.rewrites import Applied


def print_json(content: Any) -> None:
    """Writes a JSON document to standard output."""
    click.echo(json.dumps(content, indent=2, allow_nan=False))


def network_json(applied: Sequence[Applied], reason: str) -> dict[str, Any]:
    """What came of the network where the device has a sparse mode, as keys of a document."""
    return {"rewrites": {change.name: change.places for change in applied}, "network": reason}


def say_network(applied: Sequence[Applied], reason: str) -> None:
    """Says what came of the network where the device has a sparse mode."""
    if reason:
        changes = ", ".join(f"{change.name} ({change.places})" for change in applied)
        terminal.say(f"The network {reason}{f': {changes}' if changes else ''}.")

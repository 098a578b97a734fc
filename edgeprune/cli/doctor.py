"""`edgeprune doctor`."""

from __future__ import annotations

import click

from edgeprune.cli import options, terminal
from edgeprune.cli.output import print_json


@click.command("doctor")
@options.json_document
def doctor_command(as_json: bool) -> None:
    """Print what a report of a fault needs: versions, instruments, memory, caches.

    Personal folders are written as ~, and no user or host is named.
    """
    from edgeprune.targets.surroundings import surroundings

    found = surroundings()
    if as_json:
        print_json(found.to_json())
    else:
        terminal.show(str(found))

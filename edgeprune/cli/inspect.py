"""`edgeprune inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from edgeprune.cli import inputs, options
from edgeprune.cli.completion import complete_device
from edgeprune.cli.output import print_json


@click.command("inspect")
@click.argument("model", type=options.PATH, metavar="MODEL.tflite")
@click.option(
    "--device",
    metavar="D",
    shell_complete=complete_device,
    help="Hold the file against this device's runtimes.",
)
@options.route
@click.option(
    "--text",
    "as_text",
    is_flag=True,
    help="Print the graph and nothing else, one operator a line: outputs, name, options, inputs, "
    "with shapes and how values are stored. `diff` of two such texts shows what changed.",
)
@options.json_document
def inspect_command(
    model: Path, device: str | None, route: str | None, as_text: bool, as_json: bool
) -> None:
    """Show what is in a .tflite file: operators, zeros, how they are stored, and what is wrong.

    \b
    With --text, what was done to a file:
      edgeprune inspect --text dense.tflite > dense.txt
      edgeprune inspect --text pruned.tflite | diff dense.txt -
    """
    if as_text:
        _show_text(model, {"--device": device, "--route": route, "--json": as_json})
        return
    from edgeprune.cli import tables
    from edgeprune.inspection import inspect_file

    if route is not None and device is None:
        raise click.UsageError("--route is one of a device's: name the device with --device.")
    profile = None if device is None else inputs.read_device(device)
    found = inspect_file.inspect(model, profile, route=route)
    if as_json:
        print_json(found.to_json())
    else:
        tables.show_inspection(found)


def _show_text(model: Path, others: Mapping[str, object]) -> None:
    """Prints the graph line by line; it depends on the file alone, so nothing else may be asked."""
    given = [name for name, value in others.items() if value]
    if given:
        raise click.UsageError(
            f"--text prints the graph of the file alone. Received: {given[0]} beside it. "
            "Leave one of them out."
        )
    from edgeprune.tflite.format.file import read
    from edgeprune.tflite.text.graph_text import graph_text

    for line in graph_text(read(model)):
        click.echo(line)

"""`edgeprune inspect`."""

from __future__ import annotations

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
@options.json_document
def inspect_command(model: Path, device: str | None, route: str | None, as_json: bool) -> None:
    """Show what is in a .tflite file: operators, zeros, how they are stored, and what is wrong."""
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

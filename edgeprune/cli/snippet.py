"""`edgeprune snippet`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli import inputs, options
from edgeprune.cli.output import print_json


@click.command("snippet")
@click.argument("model", type=options.PATH, metavar="FILE.tflite")
@options.device
@options.route
@click.option(
    "--language",
    metavar="kotlin|java|cpp|python|c",
    help="The language of the code; by default kotlin for phones, python for computers, cpp for "
    "firmware.",
)
@options.json_document
def snippet_command(
    model: Path, device: str, route: str | None, language: str | None, as_json: bool
) -> None:
    """Show the code that loads a .tflite file on a device, fills its inputs and reads its outputs.

    What the file needs stands on top: the runtime and its version, a delegate or a compiler.
    Scales, zero points, sizes, operators and labels are those of the file; how images are scaled
    comes from its manifest.
    """
    from edgeprune.report.loading.snippet import snippet

    inputs.read_device(device)
    found = snippet(model, device, route=route, language=language)
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(found.text, nl=False)

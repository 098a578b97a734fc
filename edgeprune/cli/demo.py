"""`edgeprune demo`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli import compare, options, terminal


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=options.PATH,
    default=Path("edgeprune-demo"),
    show_default=True,
    metavar="DIR",
)
@options.json_document
@click.pass_context
def demo_command(context: click.Context, output: Path, as_json: bool) -> None:
    """Train a small network on handwritten digits, then compare three devices.

    A model that an earlier demo left in DIR is used again.
    """
    from edgeprune.core.files import make_output_folder

    make_output_folder(output)
    from edgeprune.cli.digits import DEVICES, PRUNING_EPOCHS, prepare

    with terminal.progress_bar() as tell:
        model, data = prepare(output, tell)
    asked = {"epochs": PRUNING_EPOCHS}
    compare.compare_devices(context, model, list(DEVICES), data, output, as_json, asked)

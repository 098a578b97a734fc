"""`edgeprune demo`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli import compare, instruments, options, terminal


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=options.PATH,
    default=Path("edgeprune-demo"),
    show_default=True,
    metavar="DIR",
)
@click.option(
    "--install-targets/--no-install-targets",
    default=True,
    show_default=True,
    help="First set up the instruments that are missing here; where that is not possible the demo "
    "goes on without them.",
)
@options.json_document
@click.pass_context
def demo_command(
    context: click.Context, output: Path, install_targets: bool, as_json: bool
) -> None:
    """Train a small network on handwritten digits, then compare three devices.

    A model that an earlier demo left in DIR is used again.
    """
    from edgeprune.core.files import make_output_folder

    make_output_folder(output)
    from edgeprune.cli.digits import DEVICES, PRUNING_EPOCHS, prepare
    from edgeprune.profiles.profile import load_profile

    if install_targets:
        instruments.set_up_where_possible([load_profile(name) for name in DEVICES])
    with terminal.progress_bar() as tell:
        model, data = prepare(output, tell)
    asked = {"epochs": PRUNING_EPOCHS}
    compare.compare_devices(context, model, list(DEVICES), data, output, as_json, asked)

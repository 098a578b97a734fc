"""`edgeprune demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import compare, instruments, options, search, terminal

if TYPE_CHECKING:
    from edgeprune.cli.digits import Prepared

LARGEST_DROP = 0.02
"""Accuracy that the file found may lose: the test set is small."""


@click.command("demo", cls=compare.Remembering)
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
@options.force
@options.json_document
@click.pass_context
def demo_command(
    context: click.Context, output: Path, install_targets: bool, force: bool, as_json: bool
) -> None:
    """Train a small network on handwritten digits, then compare three devices, and search.

    Each is measured by its own instrument, and the last lines say what to ship: of each device, and
    what a search of about a minute found for the Edge TPU. What an earlier demo left in DIR is
    reused.
    """
    from edgeprune.core.files import make_output_folder

    make_output_folder(output)
    from edgeprune.cli.digits import DEVICES, PRUNING_EPOCHS, prepare
    from edgeprune.profiles.profile import load_profile

    if install_targets:
        instruments.set_up_where_possible([load_profile(name) for name in DEVICES])
    with terminal.progress_bar() as tell:
        made = prepare(output, force=force, progress=tell)
    if made.history:
        terminal.say(made.history)
    asked = {"epochs": PRUNING_EPOCHS, "force": force, "command": compare.typed(context)}
    ok = compare.compare_devices(made.model, list(DEVICES), made.data, output, as_json, asked)
    _search(made, output / "search", as_json)
    context.exit(0 if ok else 1)


def _search(made: Prepared, output: Path, as_json: bool) -> None:
    """Ends with a small search, whose evaluations an earlier demo may have left in its cache."""
    from edgeprune.cli.digits import SEARCH_SECONDS, SEARCHED, SEARCHED_ROUTES
    from edgeprune.searching.asked import Asked
    from edgeprune.searching.budget import Budget

    asked = Asked(
        model=made.model,
        devices=[SEARCHED],
        data=made.data,
        routes=SEARCHED_ROUTES,
        budget=Budget(max_drop=LARGEST_DROP),
        seconds=SEARCH_SECONDS,
    )
    terminal.say(f"Searching {SEARCHED} for about {SEARCH_SECONDS:.0f} s ...")
    found = search.search_shown(asked, output, afresh=True)
    search.say_found(found, output)
    if not as_json:
        search.show_verdicts(found)

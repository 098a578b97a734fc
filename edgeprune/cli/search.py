"""`edgeprune search`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.completion import complete_routes
from edgeprune.cli.output import print_json
from edgeprune.core.durations import read_duration
from edgeprune.core.errors import InputError
from edgeprune.core.work_note import parent_and_notes
from edgeprune.targets.measurement import Settings

if TYPE_CHECKING:
    from edgeprune.core.data import Scale
    from edgeprune.searching.asked import Asked
    from edgeprune.searching.result import Search
    from edgeprune.searching.run import Standing


def read_time(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Seconds, written as 90s, 45m or 2h."""
    try:
        return None if value is None else read_duration(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from error


def read_names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names, written with commas; None if there are none."""
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    return names or None


_budget = options.together(
    options.max_drop,
    click.option(
        "--min-accuracy", type=float, metavar="F", help="In its place: the lowest accuracy."
    ),
    click.option("--max-bytes", type=click.IntRange(1), metavar="N", help="The largest file."),
    click.option(
        "--max-cost",
        type=float,
        metavar="N",
        help="The highest cost, in the unit in which the devices are measured (ms, instructions, "
        "cycles).",
    ),
    click.option(
        "--metric",
        metavar="MODULE:FUNCTION",
        help="In place of accuracy: a function of labels and outputs, or FILE.py:FUNCTION. Higher "
        "is better.",
    ),
    click.option("--minimize", is_flag=True, help="Less of --metric is better."),
)
_extent = options.together(
    click.option(
        "--trials",
        type=click.IntRange(1),
        metavar="N",
        help="Evaluate at most N candidates in full, dense ones not counted.",
    ),
    click.option(
        "--time",
        "seconds",
        metavar="90s|45m|2h",
        callback=read_time,
        help="Start nothing new after this time.  [default: until nothing is left to try]",
    ),
    click.option(
        "--storage",
        metavar="URL",
        help="A database that several machines share, such as postgresql://USER@HOST/NAME; the "
        "same command on each of them joins.  [default: DIR/search.db]",
    ),
    click.option("--resume", is_flag=True, help="There has to be a search in DIR, which goes on."),
)


@click.command("search")
@click.argument("model", type=options.PATH, metavar="MODEL.keras|.tflite|FOLDER")
@options.devices
@options.data_option(required=True)
@options.validation_data("Labelled samples to judge files by.")
@options.samples
@options.scale
@options.signature
@options.custom_objects
@click.option(
    "--routes",
    metavar="NAME,...",
    callback=read_names,
    shell_complete=complete_routes,
    help="Search on these routes only; dense files are always there to compare with.  "
    "[default: all]",
)
@_budget
@options.epochs
@options.training
@_extent
@options.measuring
@click.option("-o", "--output", type=options.PATH, required=True, metavar="DIR")
@options.json_document
@click.pass_context
def search_command(
    context: click.Context,
    /,
    model: Path,
    signature: str | None,
    devices: str,
    data: Path,
    validation_data: Path | None,
    samples: int | None,
    scale: Scale,
    routes: tuple[str, ...] | None,
    max_drop: float | None,
    min_accuracy: float | None,
    max_bytes: int | None,
    max_cost: float | None,
    metric: str | None,
    minimize: bool,
    epochs: int,
    trials: int | None,
    seconds: float | None,
    storage: str | None,
    resume: bool,
    targets: tuple[str, ...],
    settings: Settings,
    output: Path,
    as_json: bool,
    **training: Any,
) -> None:
    """Search routes, sparsities and training for the fastest file that keeps the accuracy.

    Candidates go through stages that cost more and more: cost tables, the device's own
    instrument, one shot on a part of --data, one shot on all of it and, with --epochs, training for
    the few that can still win. What cannot win is dropped early. Every file of the result was
    validated, run and measured; without an instrument the cost table tells the cost, and it is
    called expected.

    Accuracy is measured on --validation-data, else on x_test and y_test of --data. These samples
    are split into two halves: one selects among the files, the other only reports.

    \b
      edgeprune search model.keras --devices android-phone --data data.npz --max-drop 0.01 -o found
      edgeprune search model.keras --devices cortex-m-tflm --data data.npz --min-accuracy 0.9 \\
        --max-bytes 200000 --epochs 4 --time 2h -o found
    On several machines, each with a copy of model and data:
      edgeprune search model.keras --devices android-phone --data data.npz --max-drop 0.01 \\
        --storage postgresql://me@server/search -o found

    DIR gets search.html, search.json and the files of the front with their manifests. A search that
    was interrupted goes on with the same command.

    Exit code 1 if a device has no file within the budget: the nearest one is reported, and what
    stands in the way.
    """
    if len(targets) > 1:
        raise click.UsageError("--target: costs are compared by one instrument: name one.")
    if max_drop is not None and min_accuracy is not None:
        raise click.UsageError("--max-drop and --min-accuracy both limit accuracy: give one.")
    if minimize and metric is None:
        raise click.UsageError("--minimize is of a metric: give --metric.")
    inputs.require_epochs(epochs, training["quantize_aware"])
    names = inputs.device_names(devices)
    inputs.read_devices(names)
    from edgeprune.searching.asked import Asked
    from edgeprune.searching.budget import Budget
    from edgeprune.searching.command import Typed

    asked = Asked(
        model=inputs.model_or_path(model, signature),
        devices=names,
        data=data,
        validation_data=validation_data,
        routes=routes,
        budget=Budget(max_drop, min_accuracy, max_bytes, max_cost),
        metric=metric,
        minimize=minimize,
        epochs=epochs,
        trials=trials,
        seconds=seconds,
        storage=storage,
        seed=training["seed"],
        resume=resume,
        target=next(iter(targets), None),
        scale=scale,
        samples=samples,
        training=inputs.training_of(epochs, training),
        settings=settings,
        typed=Typed(
            str(model),
            str(data),
            signature=_words(context, "signature"),
            objects=_words(context, "custom_objects"),
        ),
    )
    found = search_shown(asked, output)
    if as_json:
        print_json(found.to_json())
    else:
        terminal.show_grids(found)
    say_found(found, output)
    if not as_json:
        show_verdicts(found)
    context.exit(0 if found.ok else 1)


def search_shown(asked: Asked, output: Path, *, afresh: bool = False) -> Search:
    """Searches, with progress on standard error.

    Args:
      asked: what is asked for.
      output: the search's folder.
      afresh: whether it begins again, with what an earlier one left in its cache.
    """
    from edgeprune.report.search import PAGES
    from edgeprune.searching.crashes import Crashes
    from edgeprune.searching.run import Audience
    from edgeprune.searching.search import STORAGE, run_search

    crashes = Crashes(Path(tempfile.gettempdir())) if parent_and_notes() else None
    if afresh and not (crashes and crashes.goes_on):
        (output / STORAGE).unlink(missing_ok=True)
    with inputs.telling_warnings(), terminal.progress_bar() as tell:
        shown = Shown(tell, asked.seconds)
        audience = Audience(shown.progress, shown.told, PAGES)
        return run_search(asked, output, audience, crashes)


def say_found(found: Search, output: Path) -> None:
    """Says on standard error how much was tried, and where the result is."""
    terminal.say(f"{found.trials}, in {found.seconds}.")
    if not found.complete:
        terminal.say("The time is over before everything was tried; the same command goes on.")
    terminal.say(f"Search: {output / 'search.html'} and {output / 'search.json'}")


def show_verdicts(found: Search) -> None:
    """Writes what to ship to standard output, a line for every front."""
    for verdict in found.verdicts():
        terminal.show(verdict)


class Shown:
    """How far a search is, on a bar; line by line where standard error is no terminal.

    Args:
      tell: takes what is done, and how much of how much.
      seconds: that were given; None for no limit.
    """

    def __init__(self, tell: Any, seconds: float | None) -> None:
        self._tell, self._seconds = tell, seconds
        self._start = time.monotonic()
        self._standing: Standing | None = None
        self._said = ""

    def progress(self, what: str, _: int, __: int) -> None:
        """What an evaluation does, before how far the search is."""
        standing = self._standing
        text = what if standing is None else f"{what} | {standing}"
        if self._seconds is not None:
            self._tell(text, time.monotonic() - self._start, self._seconds)
        elif standing is not None:
            self._tell(text, standing.tried, standing.tried + standing.left)
        else:
            self._tell(text, 0, None)

    def told(self, standing: Standing) -> None:
        """How far the search is, once something is finished."""
        self._standing = standing
        if sys.stderr.isatty() or str(standing) == self._said:
            return
        self._said = str(standing)
        terminal.say(self._said)


def _words(context: click.Context, *names: str) -> tuple[str, ...]:
    """Those of the options that were given, as they are typed."""
    given = {name: context.params[name] for name in names}
    options = (
        (f"--{name.replace('_', '-')}", str(value)) for name, value in given.items() if value
    )
    return tuple(word for option in options for word in option)

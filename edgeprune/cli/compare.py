"""`edgeprune compare`."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import inputs, instruments, options, terminal
from edgeprune.cli.completion import complete_routes
from edgeprune.cli.output import print_json
from edgeprune.core.errors import told_quality_warnings
from edgeprune.core.work_note import parent_and_notes
from edgeprune.targets.measurement import Settings

if TYPE_CHECKING:
    from edgeprune.conversion.given import Given
    from edgeprune.core.data import Scale


def read_routes(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names of routes, written with commas; `all` stands alone."""
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    if "all" in names and len(names) > 1:
        raise click.BadParameter(f"expected all, or names. Received: {value!r}.")
    return names


_TYPED = "edgeprune.typed"


class Remembering(click.Command):
    """A command that keeps what was typed, for the page that says what makes it again."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """As click does."""
        context.meta[_TYPED] = shlex.join(["edgeprune", str(self.name), *args])
        return super().parse_args(context, args)


def typed(context: click.Context) -> str:
    """What a command that is `Remembering` was asked by, for a shell."""
    return str(context.meta[_TYPED])


@click.command("compare", cls=Remembering)
@click.argument("model", type=options.PATH, metavar="MODEL.keras|.tflite|FOLDER")
@options.devices
@options.data_option(required=True)
@options.validation_data("Samples with labels to measure accuracy on.")
@options.samples
@options.scale
@options.signature
@options.custom_objects
@click.option(
    "--routes",
    metavar="NAME,...|all",
    callback=read_routes,
    shell_complete=complete_routes,
    help="Several routes of a device, or all: the default one as DIR/DEVICE.tflite, others as "
    "DIR/DEVICE-ROUTE.tflite.  [default: the first that serves --goal]",
)
@options.max_drop
@options.aim
@options.epochs
@options.training
@options.allocation_options
@options.measuring
@options.install_targets
@options.force
@click.option("-o", "--output", type=options.PATH, required=True, metavar="DIR")
@options.json_document
@click.pass_context
def compare_command(
    context: click.Context,
    /,
    model: Path,
    signature: str | None,
    devices: str,
    data: Path,
    samples: int | None,
    validation_data: Path | None,
    scale: Scale,
    max_drop: float | None,
    sparsity: float | None,
    cost: float | None,
    goal: Any,
    routes: tuple[str, ...],
    epochs: int,
    padding: Any,
    allocation: Any,
    targets: tuple[str, ...],
    settings: Settings,
    install_targets: bool,
    force: bool,
    output: Path,
    as_json: bool,
    **training: Any,
) -> None:
    """Run the whole pipeline for several devices, and write a report.

    Accuracy is measured on --validation-data; without it on x_test, y_test if the data has them,
    else on every fifth sample, which is then kept out of pruning and calibration.

    Beside every device the report has the dense model in float32, in half precision and in int8,
    where the device runs them: what would be shipped without pruning.

    Exit code 1 if a check of a file failed or, with --max-drop, a file loses more accuracy than
    that on the samples that there are, or its accuracy is not known. The 95 % interval beside it
    says whether other samples could have decided otherwise.
    """
    inputs.require_one_aim(sparsity, cost)
    inputs.require_epochs(epochs, training["quantize_aware"])
    asked = {
        "samples": samples,
        "validation_data": validation_data,
        "scale": scale,
        "max_drop": max_drop,
        "sparsity": sparsity,
        "cost": cost,
        "goal": goal,
        "routes": routes,
        "padding": padding,
        "allocation": allocation,
        "targets": targets,
        "settings": settings,
        "install_targets": install_targets,
        "force": force,
        "training": inputs.training_of(epochs, training),
        "command": typed(context),
    }
    offers = not (install_targets or as_json)
    names = inputs.device_names(devices)
    given = inputs.model_or_path(model, signature)
    ok = compare_devices(given, names, data, output, as_json, asked, offers=offers)
    context.exit(0 if ok else 1)


def compare_devices(
    model: Given | Path,
    names: list[str],
    data: Path,
    output: Path,
    as_json: bool,
    asked: dict[str, Any],
    *,
    offers: bool = False,
) -> bool:
    """Compares devices by their names and shows the report; returns whether all is well.

    `offers` says what would set up the instruments that are missing.
    """
    profiles = inputs.read_devices(names)
    from edgeprune.cli import measurement_tables
    from edgeprune.report import compare
    from edgeprune.report.memory import Memory

    def warn(message: str) -> None:
        terminal.warn([message])

    memory = Memory(Path(tempfile.gettempdir())) if parent_and_notes() else None
    with told_quality_warnings(warn), terminal.progress_bar() as tell:
        report = compare.compare(
            model, profiles, data, output, progress=tell, memory=memory, **asked
        )
    if as_json:
        print_json(report.to_json())
    else:
        measurement_tables.show_report(report)
    if offers:
        instruments.offer(profiles, asked.get("targets", ()))
    if report.scaling:
        terminal.say(report.scaling)
    if any(device.reused for device in report.devices):
        terminal.say("--force does everything again.")
    terminal.say(f"Report: {output / 'report.html'} and {output / 'report.json'}")
    if not as_json:
        measurement_tables.show_shipping(report)
    return report.ok

"""`edgeprune routes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.output import print_json
from edgeprune.targets.measurement import Settings

if TYPE_CHECKING:
    from edgeprune.core.data import Scale


@click.command("routes")
@click.argument("model", type=options.PATH, metavar="MODEL.keras|.tflite|FOLDER")
@options.device
@options.aim
@options.data_options
@options.signature
@options.custom_objects
@options.chosen_layers
@options.measuring
@click.option(
    "-o",
    "--output",
    type=options.PATH,
    metavar="DIR",
    help="Keep the files, named after their routes: for `measure` and `inspect`, not for use.",
)
@options.json_document
@click.pass_context
def routes_command(
    context: click.Context,
    /,
    model: Path,
    signature: str | None,
    device: str,
    data: Path | None,
    scale: Scale,
    targets: tuple[str, ...],
    settings: Settings,
    output: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure every route of a device, dense and pruned, to see which pays before training.

    A route is a number format and what is pruned in it. Which is fastest depends on the network,
    the core and the runtime: ask before you train. What a file costs does not depend on the values
    of its weights, so nothing is trained, and int8 is calibrated on samples that are made up unless
    there is --data.

    The device's first instrument that is ready measures all files in turn; --target names another
    one of its own. This computer is never taken for another device: without an instrument the
    device's cost table ranks the routes.

    \b
      edgeprune routes model.keras --device arm-neon-int8
      edgeprune routes model.keras --device my-phone.toml --target adb:SERIAL --sparsity 0.6
    Then train for the fastest:
      edgeprune prune model.keras --device arm-neon-int8 --route NAME --data data.npz --epochs 4 ...

    Exit code 1 if the instrument does not run one of the files; 0 also where nothing gains.
    """
    if len(targets) > 1:
        raise click.UsageError("--target: routes are ranked by one instrument: name one.")
    inputs.require_one_aim(asked["sparsity"], asked["cost"])
    profile = inputs.read_device(device)
    from edgeprune.keras_model.ports import ports_of
    from edgeprune.report import routes

    with terminal.progress_bar() as tell:
        tell(f"loading {model.name}", 0, 1)
        given = inputs.loaded_model(model, signature)
        samples = inputs.open_samples(data, ports_of(given.model), scale)
        found = routes.routes(
            given,
            profile,
            data=samples,
            scale=scale,
            target=next(iter(targets), None),
            settings=settings,
            folder=output,
            progress=tell,
            **asked,
        )
    if as_json:
        print_json(found.to_json())
    else:
        terminal.show_grids(found)
        terminal.show(found.verdict())
    if found.not_measured:
        terminal.say(found.not_measured)
    if output is not None:
        terminal.say(f"{output}: files for measuring only, which `validate` refuses.")
    context.exit(0 if found.ok else 1)

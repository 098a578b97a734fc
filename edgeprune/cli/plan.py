"""`edgeprune plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.flash_options import max_arena
from edgeprune.cli.output import print_json

if TYPE_CHECKING:
    from edgeprune.core.data import Scale


@click.command("plan")
@click.argument("model", type=options.PATH, metavar="MODEL.keras|.tflite")
@options.device
@options.route_or_auto
@options.planned_runtime
@options.aim
@options.data_options
@options.samples
@options.custom_objects
@options.chosen_layers
@options.allocation_options
@options.activation
@max_arena
@click.option(
    "-o", "--output", type=options.PATH, metavar="PLAN.json", help="Also write it to a file."
)
@click.option("--all", "every_layer", is_flag=True, help="List every layer with its reason.")
@options.json_document
def plan_command(
    model: Path,
    device: str,
    runtime: str | None,
    data: Path | None,
    samples: int | None,
    scale: Scale,
    padding: Any,
    activation: Any,
    output: Path | None,
    every_layer: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Say which layers would be pruned, in which pattern, and why not the others.

    The verdict comes first: the gain to expect, what is in the way, what to type next. Nothing is
    measured for it.

    With --data, every layer is pruned on trial: the plan tells the error to expect in each, and
    zeros are spread so that the sum of errors is smallest, where the profile wants that.

    --sparsity counts weights, which sit in the last layers of most networks, and --cost what the
    device computes, most of it in the first.

    The file that -o writes can be edited and given to `prune --plan`.
    """
    from edgeprune.core.files import require_folder, write_file

    inputs.require_one_aim(asked["sparsity"], asked["cost"])
    inputs.require_data_of_samples(data, samples)
    profile = inputs.read_device(device, runtime)
    if output is not None:
        require_folder(output)
    from edgeprune.cli import tables
    from edgeprune.conversion.given import as_given
    from edgeprune.keras_model.ports import ports_of
    from edgeprune.planning.expectation import next_step

    given = as_given(model)
    if given.untouched:
        terminal.say(given.untouched)
    x = inputs.open_samples(data, ports_of(given.model), scale)
    with inputs.telling_warnings(), terminal.progress_bar() as tell:
        made = inputs.plan_as_asked(
            given,
            profile,
            padding=padding or "keep",
            activation=activation or "keep",
            x=x,
            samples=samples,
            progress=tell,
            **asked,
        )
    named = device if device.endswith(".toml") else profile.name
    made = made.model_copy(update={"next_step": next_step(made, profile, named)})
    if output is not None:
        write_file(output, (json.dumps(made.to_json(), indent=2) + "\n").encode())
    if as_json:
        print_json(made.to_json())
    else:
        tables.show_plan(made, every_layer=every_layer)
    terminal.warn(made.warnings())

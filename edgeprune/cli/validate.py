"""`edgeprune validate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.output import print_json
from edgeprune.core.layer_noise import noise_text
from edgeprune.targets.measurement import Settings

if TYPE_CHECKING:
    from edgeprune.core.data import Scale


@click.command("validate")
@click.argument("model", type=options.PATH, metavar="MODEL.tflite")
@options.device
@options.route
@click.option(
    "--reference",
    type=options.PATH,
    metavar="REF",
    help="A .tflite or .keras file whose outputs are right; without it the file is only "
    "compared with itself run by plain kernels.",
)
@options.data_options
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    default=256,
    show_default=True,
    help="Most samples with labels that the accuracy of a float16-arithmetic file is measured on; "
    "they run on an emulated core.",
)
@options.custom_objects
@options.target_option
@options.board_python
@options.json_document
@click.pass_context
def validate_command(
    context: click.Context,
    model: Path,
    device: str,
    route: str | None,
    reference: Path | None,
    data: Path | None,
    scale: Scale,
    samples: int,
    targets: tuple[str, ...],
    board_python: str,
    as_json: bool,
) -> None:
    """Check that a file loads, computes what it should and fits the device.

    Runtimes run in child processes; one that crashes or hangs is a failed check (exit code 1). This
    computer and the device's own instruments are always asked, others with --target. Samples run
    one by one: in a file that keeps a window over earlier ones they follow each other, and each
    starts afresh in others that keep a state. Of an int8 file it names the layers that lose most,
    from the manifest beside it.
    """
    from edgeprune.inspection import validate_file
    from edgeprune.tflite.format import file as tflite_file

    profile = inputs.read_device(device)
    graph = tflite_file.read(model)
    ports = validate_file.ports_of_file(graph, reference)
    x = inputs.open_samples(data, ports, scale)
    settings = Settings(python=board_python)
    with inputs.telling_warnings():
        verdict = validate_file.validate(
            model,
            profile,
            reference=reference,
            x=x,
            route=route,
            targets=targets,
            settings=settings,
            samples=samples,
        )
    if as_json:
        print_json(verdict.to_json())
    else:
        terminal.show_grids(verdict)
        terminal.say(noise_text(verdict.noise))
    context.exit(0 if verdict.ok else 1)

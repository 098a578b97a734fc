"""`edgeprune measure`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.output import print_json
from edgeprune.targets.measurement import Settings


@click.command("measure")
@click.argument("models", type=options.PATH, nargs=-1, required=True, metavar="MODEL.tflite...")
@options.device
@options.route
@options.measuring
@options.json_document
def measure_command(
    models: tuple[Path, ...],
    device: str,
    route: str | None,
    targets: tuple[str, ...],
    settings: Settings,
    as_json: bool,
) -> None:
    """Measure files, in turn with each other; with several, compare them with the first."""
    from edgeprune.cli import measurement_tables
    from edgeprune.targets.measuring import measure_each
    from edgeprune.targets.missing import missing_instrument

    profile = inputs.read_device(device)
    with terminal.progress_bars() as tell:
        outcomes = measure_each(models, profile, targets, settings, tell, route=route)
    found = [m for outcome in outcomes for m in outcome.measurements]
    stand_ins = dict.fromkeys(m.target for m in found if m.stand_in)
    missing = missing_instrument(profile) if stand_ins else None
    remedy = f" ({missing.remedy})" if missing else ""
    terminal.warn(
        f"'{name}' does not measure {profile.name}: it is a proxy for the device, which "
        f"{', '.join(profile.targets)} would measure{remedy}."
        for name in stand_ins
    )
    if as_json and found:
        print_json([measurement.to_json() for measurement in found])
    elif not as_json:
        for outcome in outcomes:
            if outcome.measurements:
                measurement_tables.show_measurements(outcome.measurements)
    failed = [outcome.error for outcome in outcomes if outcome.error]
    for error in failed[1:]:
        terminal.fail(str(error))
    if failed:
        raise failed[0]

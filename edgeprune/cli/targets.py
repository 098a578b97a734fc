"""`edgeprune targets`, and what belongs to single instruments."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import click

from edgeprune.cli import options, terminal
from edgeprune.cli.completion import complete_targets
from edgeprune.cli.output import print_json
from edgeprune.core.terms import DEFAULT_CORE, Core


@click.group("targets", invoke_without_command=True)
@options.json_document
@click.pass_context
def targets_command(context: click.Context, as_json: bool) -> None:
    """List the instruments: which are ready, and what installs the others."""
    if context.invoked_subcommand:
        return
    from edgeprune.cli import tables
    from edgeprune.targets.find import TARGETS, find_target

    states = {name: find_target(name).readiness() for name in TARGETS}
    if as_json:
        print_json([{"target": name, **asdict(state)} for name, state in states.items()])
    else:
        tables.show_targets(states)


@targets_command.command("install")
@click.argument("name", shell_complete=complete_targets)
@click.option("--latest", is_flag=True, help="Add the newest runtimes and cores.")
@options.json_document
@click.pass_context
def _install(context: click.Context, name: str, latest: bool, as_json: bool) -> None:
    """Install what an instrument needs, or say how.

    `arm64-emulated` goes into the cache folder (XDG_CACHE_HOME, else ~/.cache); removing that
    folder removes it. So does `tflite-runtime`, the reference of `host`: its wheels need Python
    3.10 or 3.11, so on a later one it gets an environment of such a Python, if there is one.

    `arm64-emulated --latest` also builds QEMU 10 from Debian's source, which takes minutes: it runs
    LiteRT 2.3.0 and emulates cortex-a710, neoverse-v1 and neoverse-n2. Interrupted, it goes on
    where it was.
    """
    from edgeprune.targets.find import find_installable, find_latest

    target = find_latest(name) if latest else find_installable(name)
    with terminal.progress_bar() as tell:
        target.install(tell)
    state = target.readiness()
    if as_json or (context.parent and context.parent.params["as_json"]):
        print_json({"target": name, **asdict(state)})
    else:
        terminal.show(f"{name} is ready: {state.detail}.")


@targets_command.command("calibrate")
@click.argument("name", type=click.Choice(["arm64-emulated"]))
@click.option("--core", type=click.Choice(get_args(Core)), default=DEFAULT_CORE, show_default=True)
@click.option("-o", "--output", type=options.PATH, required=True, metavar="COSTS.toml")
def _calibrate(name: str, core: Any, output: Path) -> None:
    """Measure again what each operator costs there, for the plan's choice of routes and patterns.

    Counts some 2,000 small networks in every runtime that is installed, in every number format that
    the core computes in; that takes some five minutes a runtime. A device profile of your own takes
    the file as costs = "PATH.toml".
    """
    from edgeprune.core.files import require_folder, write_file

    require_folder(output)
    from edgeprune.profiles.kernel_costs import to_toml
    from edgeprune.targets.arm64_emulated.calibrate import calibrate_core

    with terminal.progress_bar() as tell:
        table = calibrate_core(core, tell)
    write_file(output, to_toml(table).encode())
    errors = ", ".join(
        f"{each.numerics} {each.error:.1%} in {runtime.name} {runtime.version}"
        for runtime in table.runtimes
        for each in runtime.formats
    )
    terminal.show(f"{output}: costs on {core} by {name}. They are off, root mean square: {errors}.")

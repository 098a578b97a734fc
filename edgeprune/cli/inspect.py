"""`edgeprune inspect`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.completion import complete_device
from edgeprune.cli.output import print_json

if TYPE_CHECKING:
    from edgeprune.inspection.inspect_file import Inspection
    from edgeprune.profiles.profile import DeviceProfile


@click.command("inspect")
@click.argument("model", type=options.PATH, metavar="MODEL.tflite")
@click.option(
    "--device",
    metavar="D",
    shell_complete=complete_device,
    help="Hold the file against this device's runtimes.",
)
@options.route
@click.option(
    "--text",
    "as_text",
    is_flag=True,
    help="Print the graph and nothing else, one operator a line: outputs, name, options, inputs, "
    "with shapes and how values are stored. `diff` of two such texts shows what changed.",
)
@click.option(
    "--node-data",
    type=options.PATH,
    metavar="OUT.json",
    help="Also write what is known of each operator for Model Explorer, a file for each kind of "
    "value: OUT.json has the zeros, OUT.kernel.json the kernels, OUT.cost.json with --device the "
    "expected instructions, OUT.error.json the errors in the manifest of an int8 file.",
)
@options.json_document
def inspect_command(
    model: Path,
    device: str | None,
    route: str | None,
    as_text: bool,
    node_data: Path | None,
    as_json: bool,
) -> None:
    """Show what is in a .tflite file: operators, zeros, how they are stored, and what is wrong.

    \b
    With --text, what was done to a file:
      edgeprune inspect --text dense.tflite > dense.txt
      edgeprune inspect --text pruned.tflite | diff dense.txt -
    """
    if as_text:
        others = {"--device": device, "--route": route, "--node-data": node_data, "--json": as_json}
        _show_text(model, others)
        return
    if node_data is not None:
        _require_json_name(node_data)
    from edgeprune.cli import tables
    from edgeprune.inspection import inspect_file

    if route is not None and device is None:
        raise click.UsageError("--route is one of a device's: name the device with --device.")
    profile = None if device is None else inputs.read_device(device)
    found = inspect_file.inspect(model, profile, route=route)
    if node_data is not None:
        _write_node_data(model, profile, route, found, node_data)
    if as_json:
        print_json(found.to_json())
    else:
        tables.show_inspection(found)


def _show_text(model: Path, others: Mapping[str, object]) -> None:
    """Prints the graph line by line; it depends on the file alone, so nothing else may be asked."""
    given = [name for name, value in others.items() if value]
    if given:
        raise click.UsageError(
            f"--text prints the graph of the file alone. Received: {given[0]} beside it. "
            "Leave one of them out."
        )
    from edgeprune.tflite.format.file import read
    from edgeprune.tflite.text.graph_text import graph_text

    for line in graph_text(read(model)):
        click.echo(line)


def _require_json_name(output: Path) -> None:
    """Checks that node data can be written there, before anything is read."""
    from edgeprune.core.files import require_folder

    if output.suffix.lower() != ".json":
        raise click.UsageError(
            f"--node-data writes JSON: expected a name that ends in .json. Received: {output}."
        )
    require_folder(output)


def _write_node_data(
    model: Path,
    profile: DeviceProfile | None,
    route: str | None,
    found: Inspection,
    output: Path,
) -> None:
    """Writes a file for each kind of value that is known, and says which."""
    from edgeprune.conversion.route_of_file import on_route_of
    from edgeprune.core.files import write_file
    from edgeprune.inspection.node_data import node_data
    from edgeprune.tflite.format.file import read

    graph = read(model)
    on_route = None if profile is None else on_route_of(graph, profile, route)
    kinds = node_data(graph, found, on_route)
    paths = [
        output if place == 0 else output.with_name(f"{output.stem}.{each.kind}.json")
        for place, each in enumerate(kinds)
    ]
    for each, path in zip(kinds, paths, strict=True):
        write_file(path, (json.dumps(each.to_json(graph), indent=2) + "\n").encode())
    terminal.say(f"Node data for Model Explorer: {', '.join(map(str, paths))}.")

"""`edgeprune densify`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeprune.cli import options, terminal
from edgeprune.cli.output import print_json


@click.command("densify")
@click.argument("model", type=options.PATH, metavar="MODEL.tflite")
@click.option("-o", "--output", type=options.PATH, required=True, metavar="OUT.tflite")
@options.json_document
def densify_command(model: Path, output: Path, as_json: bool) -> None:
    """Store every sparse weight of a file densely again; it computes the same, bit for bit."""
    from edgeprune.core.files import require_folder
    from edgeprune.tflite.store_densely import densify_file

    require_folder(output)
    with terminal.progress_bar() as tell:
        tell(f"densifying {model.name}", 0, 1)
        result = densify_file(model, output)
    if as_json:
        print_json(
            {
                "model": str(model),
                "output": str(output),
                "bytes_before": result.bytes_before,
                "bytes_after": result.bytes_after,
                "tensors": list(result.tensors),
            }
        )
    else:
        terminal.show(
            f"{output}: {len(result.tensors)} weights made dense, {result.bytes_before} to "
            f"{result.bytes_after} bytes."
        )

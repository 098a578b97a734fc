"""`edgeprune encode`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.output import network_json, print_json, say_network

if TYPE_CHECKING:
    from edgeprune.tflite.storage_plan import TensorPlan


@click.command("encode")
@click.argument("model", type=options.PATH, metavar="MODEL.tflite")
@options.device
@options.route
@click.option("-o", "--output", type=options.PATH, required=True, metavar="OUT.tflite")
@options.json_document
def encode_command(
    model: Path, device: str, route: str | None, output: Path, as_json: bool
) -> None:
    """Store the weights of an existing file sparsely, where the device's runtimes read that.

    Only what was seen to compute right is stored sparsely, and only where it is smaller; where
    nothing can be gained the output is an equal file.
    """
    from edgeprune.cli import tables
    from edgeprune.core.files import require_folder
    from edgeprune.inspection.route_of_file import on_route_of
    from edgeprune.profiles.encoding import rules_of
    from edgeprune.tflite.format.file import read
    from edgeprune.tflite.store_sparsely import encode_file

    profile = inputs.read_device(device)
    require_folder(output)
    profile = on_route_of(read(model), profile, route)
    with terminal.progress_bar() as tell:
        tell(f"encoding {model.name}", 0, 1)
        result = encode_file(model, rules_of(profile), output)
    if as_json:
        print_json(
            {
                "model": str(model),
                "device": profile.name,
                "output": str(output),
                "bytes_before": result.bytes_before,
                "bytes_after": result.bytes_after,
                **network_json(result.rewrites, result.network),
                "tensors": [_tensor_json(tensor) for tensor in result.tensors],
            }
        )
        return
    tables.show_encoding(result)
    say_network(result.rewrites, result.network)


def _tensor_json(tensor: TensorPlan) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "operator": tensor.operator,
        "stored": tensor.storage,
        "sparsity": tensor.sparsity,
        "dense_bytes": tensor.dense_bytes,
        "sparse_bytes": tensor.sparse_bytes,
        "reason": tensor.reason,
    }

"""`edgeprune encode`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import inputs, options, terminal
from edgeprune.cli.flash_options import flash
from edgeprune.cli.output import network_json, print_json, say_network, say_packing

if TYPE_CHECKING:
    from edgeprune.tflite.storage_plan import TensorPlan


@click.command("encode")
@click.argument("model", type=options.PATH, metavar="MODEL.tflite")
@options.device
@options.route
@flash
@click.option("-o", "--output", type=options.PATH, required=True, metavar="OUT.tflite")
@options.json_document
def encode_command(
    model: Path,
    device: str,
    route: str | None,
    strip_names: bool,
    strip_manifest: bool,
    max_arena: int | None,
    output: Path,
    as_json: bool,
) -> None:
    """Store the weights of an existing file sparsely, where the device's runtimes read that.

    Only what was seen to compute right is stored sparsely, and only where it is smaller; where
    nothing can be gained the output is an equal file. A route that packs weights packs those of an
    int8 file, and writes the plain file too, as OUT.plain.tflite.
    """
    from edgeprune.cli import tables
    from edgeprune.conversion.finish import encode_finished
    from edgeprune.conversion.route_of_file import on_route_of
    from edgeprune.core.files import require_folder
    from edgeprune.tflite.format.file import read
    from edgeprune.tflite.slim import Slimming

    profile = inputs.read_device(device)
    require_folder(output)
    profile = on_route_of(read(model), profile, route)
    slimming = Slimming(names=strip_names, manifest=strip_manifest)
    with terminal.progress_bar() as tell:
        tell(f"encoding {model.name}", 0, 1)
        result, packed = encode_finished(model, profile, output, slimming, max_arena)
    if as_json:
        print_json(
            {
                "model": str(model),
                "device": profile.name,
                "output": str(output),
                "bytes_before": result.bytes_before,
                "bytes_after": result.bytes_after,
                "packing": packed.to_json() if packed else None,
                **network_json(result.rewrites, result.network),
                "tensors": [_tensor_json(tensor) for tensor in result.tensors],
            }
        )
        return
    tables.show_encoding(result)
    say_network(result.rewrites, result.network)
    say_packing(packed, profile.packing)


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

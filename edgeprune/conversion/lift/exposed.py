"""What goes on inside a lifted model and inside its file: every value on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.conversion.lift.floating import with_float_weights, write_exposed
from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.core.arrays import Array
from edgeprune.keras_model.calls import nodes_of
from edgeprune.targets.child import run_worker
from edgeprune.targets.host import launcher_of
from edgeprune.tflite.format import draft as tflite_draft
from edgeprune.tflite.format.signature import input_ports
from edgeprune.tflite.streams import is_fresh

RUNTIME = "LiteRT"


def lifted_values(lifted: Lifted) -> dict[int, Any]:
    """The Keras tensor of each activation of the file that the model's outputs depend on."""
    made = {
        operation.name: [tensor for node in nodes_of(operation) for tensor in node.output_tensors]
        for operation in lifted.model.operations
    }
    return {
        index: made[name][number]
        for index, (name, number) in lifted.tensors.items()
        if name in made
    }


def run_exposed(
    lifted: Lifted,
    tensors: Sequence[int],
    arrays: list[Array],
    folder: Path,
    runtime: str = RUNTIME,
) -> tuple[Array, ...]:
    """What the interpreter of a runtime computes for the given tensors."""
    path = folder / "exposed.tflite"
    write_exposed(with_float_weights(tflite_draft.load(lifted.path)), tensors, path)
    model = {
        "path": str(path),
        "input_tensors": [port.tensor for port in input_ports(lifted.graph)],
        "output_tensors": list(tensors),
        "fresh": is_fresh(lifted.graph),
    }
    job = {
        "kind": "run",
        "runtime": runtime,
        "threads": 1,
        "delegates": False,
        "models": [model],
    }
    return run_worker(job, [arrays], launcher=launcher_of(runtime)).outputs

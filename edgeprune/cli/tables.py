"""What the commands found, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.cli.terminal import say, show_grid, show_grids
from edgeprune.core.grid import grid, shorten_name

if TYPE_CHECKING:
    from edgeprune.core.plan import Plan
    from edgeprune.inspection.inspect_file import Inspection
    from edgeprune.targets.target import Readiness
    from edgeprune.tflite.store_sparsely import EncodingResult


def show_targets(states: dict[str, Readiness]) -> None:
    """Which instruments are ready, and what installs the others."""
    show_grid(
        grid(
            "Targets: the instruments that run or compile a file",
            ("=target", "ready", "found", "to install"),
            (
                (name, "yes" if state.ready else "no", state.detail, state.remedy)
                for name, state in states.items()
            ),
        )
    )


def show_plan(plan: Plan, *, every_layer: bool) -> None:
    """The verdict, then the layers; without `every_layer` those without a kernel are counted."""
    for each in plan.grids(every_layer=every_layer):
        show_grid(each)
    hidden = sum(not layer.shape for layer in plan.layers)
    if hidden and not every_layer:
        say(f"{hidden} more layers have no kernel and are left alone (--all lists them).")


def show_islands(plan: Plan) -> None:
    """The operators of a file that are neither lifted nor pruned, if there are any."""
    from edgeprune.core.plan_verdict import islands_grid

    for each in islands_grid(plan.islands):
        show_grid(each)


def show_encoding(result: EncodingResult) -> None:
    """How each weight of a file is stored now, and why."""
    sparse = sum(tensor.storage != "dense" for tensor in result.tensors)
    show_grid(
        grid(
            f"{result.output}: {sparse} of {len(result.tensors)} weights stored sparsely, "
            f"{result.bytes_before} to {result.bytes_after} bytes",
            ("weight of", "stored", ">zeros", ">dense bytes", ">sparse bytes", "why"),
            (
                (
                    f"{tensor.operator} {shorten_name(tensor.name)}",
                    tensor.storage,
                    f"{tensor.sparsity:.3f}",
                    str(tensor.dense_bytes),
                    str(tensor.sparse_bytes),
                    tensor.reason,
                )
                for tensor in result.tensors
            ),
        )
    )


def show_inspection(inspection: Inspection) -> None:
    """Sizes, operators and findings of a file."""
    show_grids(inspection)
    if inspection.made_by:
        say(f"{inspection.made_by} (--json shows the whole manifest).")

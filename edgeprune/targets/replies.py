"""Checks on what a worker replied, or on why it did not."""

from __future__ import annotations

from edgeprune.targets.checks import Case, Check, Reference, check_outputs, named_outputs, numerics
from edgeprune.targets.child import Reply, WorkerError


def check_runs(case: Case, reply: Reply) -> Check:
    """That the file ran on all samples."""
    message = f"{len(case.inputs[0])} inferences ended well"
    name = f"runs ({reply.facts['runtime']})"
    return Check(name, True, "runs", "runs", message, kind="runs")


def check_refusal(case: Case, place: str, error: WorkerError) -> Check:
    """That the file did not run there."""
    message = (
        f"{case.graph.path.name} cannot be used: {error}. Convert the model again, or look for the "
        "operator that the message names."
    )
    return Check(f"runs ({place})", False, str(error), "runs", message, kind="runs")


def check_reply(case: Case, reply: Reply, wanted: Reference) -> Check:
    """That the outputs are the right ones."""
    return check_outputs(
        f"outputs ({reply.facts['runtime']})",
        named_outputs(case.graph, reply.outputs),
        wanted,
        numerics(case.graph),
        reply.facts["output_scales"],
    )

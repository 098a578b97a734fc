"""What became of a device's zeros and padding, in sentences for people."""

from __future__ import annotations

from edgeprune.conversion.convert import CHECKED_SPARSITY
from edgeprune.conversion.exported import Exported
from edgeprune.core.pattern import Channels
from edgeprune.core.plan import Plan
from edgeprune.planning.cost_asked import why_no_cost
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.targets.find import own_targets


def plan_notes(
    made: Plan, profile: DeviceProfile, wanted: float | None, cost: float | None
) -> tuple[str, ...]:
    """What to know of a plan before it is carried out.

    Args:
      made: the plan.
      profile: the device, narrowed to the route that it follows.
      wanted: the sparsity that a person asked for, if any.
      cost: the cost that a person asked for instead, if any.
    """
    strategy = profile.route
    notes = list(made.warnings()) if strategy.rules else []
    if made.padding:
        notes.append(
            f"The padding of {len(made.padding)} stride-2 convolutions was made symmetric before "
            "pruning, as the device's sparse kernels want it."
        )
    fixed = strategy.fixed
    if fixed and wanted is not None and wanted != fixed.sparsity:
        notes.append(f"{fixed} fixes the sparsity: {fixed.sparsity:g} instead of {wanted:g}.")
    if cost is not None and (reason := why_no_cost(profile)):
        notes.append(f"Not planned within a cost of {cost:g}: this route {reason}.")
    return tuple(notes)


def storage_notes(profile: DeviceProfile, plan: Plan, exported: Exported) -> tuple[str, ...]:
    """What became of the zeros in the file, in words."""
    notes = []
    smaller = [layer for layer in plan.pruned if isinstance(layer.pattern, Channels)]
    if smaller:
        most = max(smaller, key=lambda layer: layer.sparsity)
        notes.append(
            f"Channels were taken out of {len(smaller)} layers, most of them ({most.sparsity:.0%}) "
            f"out of {most.path}: the file is a smaller network without zeros."
        )
    restored = [tensor for tensor in exported.sparse if tensor.storage == "densify"]
    direct = [tensor for tensor in exported.sparse if tensor.storage == "direct"]
    if exported.network.on:
        changes = ", ".join(
            f"{change.name} ({change.places})" for change in exported.network.applied
        )
        notes.append(
            "On ARM64 the network runs on XNNPACK's sparse kernels as a whole"
            + (f"; rewritten for that, with equal outputs: {changes}." if changes else ".")
        )
    elif restored:
        notes.append(
            f"{len(restored)} weights are stored sparsely and made dense again when the file is "
            "loaded: smaller, not faster."
        )
    if direct:
        notes.append(f"{len(direct)} weights are computed on as they are stored, sparse.")
    if exported.packed is not None:
        code = profile.packing.code_bytes.value if profile.packing else None
        notes += exported.packed.sentences(code)
    reasons = {
        tensor.reason
        for tensor in exported.tensors
        if tensor.storage == "dense" and tensor.sparsity > CHECKED_SPARSITY
    }
    if reasons and any(target.capabilities.finds_zeros for _, target in own_targets(profile)):
        notes.append(
            "The zeros lie in dense weights, where the device's compiler finds them by itself."
        )
    elif reasons:
        notes.append(
            "Other zeros are stored like any value, and gzip alone shows them: "
            f"{'; '.join(sorted(reasons))}."
        )
    return tuple(notes)

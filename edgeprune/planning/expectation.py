"""What a plan is expected to save, and what to type next; pure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable

from edgeprune.core.files import TFLITE, is_saved_model
from edgeprune.core.pattern import Channels, NofM
from edgeprune.core.plan import LayerInfo, LayerPlan, Plan
from edgeprune.core.plan_verdict import Expected
from edgeprune.planning.packing import expect_packed
from edgeprune.profiles.profile import DeviceProfile

_MODEL_FILES = (".keras", ".h5", TFLITE)
_SPARSITY_TO_TRY = 0.8
"""Where a network would gain from more zeros than were asked for."""
_EPOCHS_TO_TRY = 10
"""Where the function changes, so that the model has to be trained."""


def with_verdict(
    made: Plan, layers: Iterable[LayerInfo], profile: DeviceProfile, signature: str | None = None
) -> Plan:
    """The plan with the cost to expect and what to type next, as it stands now."""
    packing = profile.on(made.route).route.packing
    facts = {
        "expected": expect_packed(made, packing) if packing else expect_cost(made, layers),
        "next_step": next_step(made, profile, profile.name, signature),
    }
    return made.model_copy(update=facts)


def expect_cost(made: Plan, layers: Iterable[LayerInfo]) -> Expected | None:
    """The cost of a model before and after; None where nothing is pruned or nothing tells.

    By the cost table where the network as a whole gains; else multiplications where latency is the
    goal and the device computes fewer, and weights for the other goals.
    """
    if not made.pruned:
        return None
    if made.network is not None and made.network.instructions and made.network.gains:
        runtimes, dense, pruned = zip(*made.network.instructions, strict=True)
        return Expected(
            unit="instructions",
            dense=sum(dense) / len(dense),
            pruned=sum(pruned) / len(pruned),
            source=f"cost table of {' and '.join(runtimes)}, layers with weights",
        )
    if made.goal != "latency":
        return _expect_weights(made)
    if made.network is None and all(isinstance(r.pattern, Channels | NofM) for r in made.pruned):
        return _expect_multiplications(made, layers)
    return None


def _expect_weights(made: Plan) -> Expected:
    return Expected(
        unit="weights to store",
        dense=sum(row.weights for row in made.layers),
        pruned=sum(weights_left(row) for row in made.layers),
        source="counted over kernels, zeros left out",
    )


def _expect_multiplications(made: Plan, layers: Iterable[LayerInfo]) -> Expected | None:
    known = {layer.path: layer for layer in layers}
    rows = [row for row in made.layers if row.shape]
    places = [_multiplied_pixels(known[row.path]) for row in rows]
    if None in places:
        return None
    pairs = [(row, count or 0) for row, count in zip(rows, places, strict=True)]
    return Expected(
        unit="multiplications",
        dense=sum(row.weights * count for row, count in pairs),
        pruned=sum(weights_left(row) * count for row, count in pairs),
        source="counted over kernels",
    )


def weights_left(row: LayerPlan) -> float:
    """Weights of a kernel that stay, or that are not zero."""
    if row.after is not None:
        return math.prod(row.after)
    return row.weights * (1 - row.expected_sparsity)


def _multiplied_pixels(layer: LayerInfo) -> float | None:
    """At how many places each weight is multiplied; a transposed layer's are those of its input."""
    if layer.pixels is None or not layer.kind.endswith("Transpose"):
        return layer.pixels
    return layer.pixels / math.prod(layer.strides)


def next_step(made: Plan, profile: DeviceProfile, device: str, signature: str | None = None) -> str:
    """What to type next.

    Args:
      made: the plan.
      profile: its device.
      device: what `--device` takes for it.
      signature: of a SavedModel, where it was chosen.
    """
    is_folder = is_saved_model(made.model)
    model = made.model if made.model.endswith(_MODEL_FILES) or is_folder else "model.keras"
    kind = TFLITE if model.endswith(TFLITE) or is_folder else ".keras"
    chosen = [] if signature is None else ["--signature", signature]
    if made.pruned:
        words = ["prune", model, *chosen, "--device", device, *_asked(made, profile)]
        trained = ["--epochs", str(_EPOCHS_TO_TRY)] if made.activation else []
        return _command(*words, "--data", "data.npz", *trained, "-o", f"pruned{kind}")
    if made.route is not None and profile.on(made.route).route.dense:
        samples = ["--data", "data.npz"] if made.numerics == "int8" else []
        words = ["export", model, *chosen, "--device", device, "--route", made.route]
        output = "exported.tflite" if kind == TFLITE else "model.tflite"
        return _command(*words, *samples, "-o", output)
    if made.network is not None and made.network.wants_more_zeros:
        words = ["plan", model, *chosen, "--device", device]
        return _command(*words, "--sparsity", f"{_SPARSITY_TO_TRY:g}")
    if made.network is not None and made.network.elsewhere:
        return _command("plan", model, *chosen, "--device", made.network.elsewhere[0].device)
    return "edgeprune devices"


def _asked(made: Plan, profile: DeviceProfile) -> list[str]:
    """The options that ask for what the plan was asked for, where that is not the default."""
    words = []
    by_goal = next((r for r in profile.offered if made.goal in r.goals), profile.route)
    if made.route is not None and made.route != by_goal.name:
        words += ["--route", made.route]
    elif by_goal != profile.route:
        words += ["--goal", made.goal]
    if made.asked_cost is not None:
        words += ["--cost", f"{made.asked_cost:g}"]
    elif made.asked != profile.on(made.route).route.default_sparsity:
        words += ["--sparsity", f"{made.asked:g}"]
    if made.activation:
        words += ["--activation", made.activation[0].after]
    return words


def _command(*words: str) -> str:
    return shlex.join(["edgeprune", *words])

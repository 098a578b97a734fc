"""The last steps of a .tflite file, of `export` and `encode` alike: slimmed, and packed if so."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edgeprune.core.errors import ProfileError
from edgeprune.core.files import write_file
from edgeprune.profiles.encoding import rules_of
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.profiles.rules import HALF_PRECISION
from edgeprune.targets.tflm.packing import Packed, write_packed
from edgeprune.tflite.decode.unpack import unpack_weights
from edgeprune.tflite.format.draft import Draft, load, write_or_copy
from edgeprune.tflite.rewrites import Rewritten
from edgeprune.tflite.slim import KEEP_ALL, Slimming, slim
from edgeprune.tflite.storage_plan import EncodingRules, TensorPlan, plan_encoding
from edgeprune.tflite.store_sparsely import (
    EncodingResult,
    apply_plans,
    encode_file,
    fit_network,
)


def require_packing(profile: DeviceProfile, max_arena: int | None) -> None:
    """Checks that a limit of the arena is asked for on a route that keeps to one.

    Raises:
      ProfileError: the route packs nothing.
    """
    if max_arena is None or profile.route.packing is not None:
        return
    raise ProfileError(
        f"{profile.name}: --max-arena chooses which weights are packed. Expected a route that "
        f"packs some. Received: route '{profile.route.name}'. Name another one with --route."
    )


def slimming_for(profile: DeviceProfile, asked: Slimming) -> Slimming:
    """What is left out of a device's file beside what a person asks for.

    Where the device runs TensorFlow Lite Micro, or anything is asked for, equal constants share
    their bytes too.
    """
    merge = asked.changes or profile.tflm is not None or profile.route.packing is not None
    return replace(asked, merge=merge)


def encode_draft(
    draft: Draft, profile: DeviceProfile, numerics: str
) -> tuple[Rewritten, tuple[TensorPlan, ...]]:
    """Rewrites a network for sparse kernels and stores its weights, as `encode_file` does.

    Args:
      draft: the file; edited in place where nothing is rewritten.
      profile: the device, narrowed to a route.
      numerics: the file's number format.

    Returns:
      The network, whose draft is to go on with, and how each weight is stored.
    """
    # Half-precision arithmetic on sparse weights gives NaN or ends in a crash.
    rules = EncodingRules(runtimes=()) if numerics == HALF_PRECISION else rules_of(profile)
    fitted = fit_network(draft, rules)
    tensors = plan_encoding(fitted.draft.graph, rules)
    apply_plans(fitted.draft, tensors)
    return fitted, tensors


def write_finished(
    made: Path, output: Path, profile: DeviceProfile, max_arena: int | None = None
) -> Packed | None:
    """Gives a file its final place, packed where the route of a narrowed profile packs weights.

    Raises:
      EdgepruneError: as `write_packed`.
    """
    if profile.route.packing is not None:
        return write_packed(made, output, profile, max_arena)
    write_file(output, made.read_bytes())
    return None


def encode_finished(
    source: Path,
    profile: DeviceProfile,
    output: Path,
    slimming: Slimming = KEEP_ALL,
    max_arena: int | None = None,
) -> tuple[EncodingResult, Packed | None]:
    """Stores the weights of a file as the route of a narrowed profile says, and finishes the file.

    Args:
      source: the file.
      profile: the device, narrowed to a route.
      output: the file to write.
      slimming: what is left out.
      max_arena: as for `write_packed`.

    Raises:
      EdgepruneError: as `encode_file`, `require_packing` and `write_packed`.
    """
    require_packing(profile, max_arena)
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        made = Path(folder, "encoded.tflite")
        result = replace(encode_file(source, rules_of(profile), made), output=output)
        if slimming.changes or profile.route.packing is not None:
            draft = load(made)
            unpack_weights(draft)  # so that the plain file beside a packed one is plain
            slim(draft.model, slimming_for(profile, slimming))
            write_or_copy(draft, made, changed=True)
        packed = write_finished(made, output, profile, max_arena)
    tensors = result.tensors if packed is None else with_rows(result.tensors, packed)
    return replace(result, tensors=tensors, bytes_after=output.stat().st_size), packed


def with_rows(tensors: Iterable[TensorPlan], packed: Packed) -> tuple[TensorPlan, ...]:
    """The rows of a file's weights, with what packing did to them."""
    rows = {row.tensor: row for row in packed.tensors}
    return tuple(rows.get(row.tensor, row) for row in tensors)

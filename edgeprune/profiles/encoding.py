"""What a device profile says of files: how weights may be stored, and which runtimes load them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgeprune.core.runtime import Runtime
from edgeprune.core.terms import CORE_FEATURES
from edgeprune.tflite.gate import delegating, rules_for
from edgeprune.tflite.storage_plan import EncodingRules

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile


def rules_of(profile: DeviceProfile) -> EncodingRules:
    """The rules that a device profile sets, for its runtimes that read sparse tensors."""
    encoding = profile.encoding
    runtimes = tuple(
        runtime
        for name in encoding.runtimes
        for runtime in runtimes_of(profile)
        if runtime.name == name
    )
    return EncodingRules(
        runtimes=runtimes,
        sparse_networks=encoding.sparse_networks,
        no_gain=why_no_gain(profile, runtimes) if encoding.sparse_networks else "",
        direct_float32_from=encoding.direct_float32_from,
        direct_int8_from=encoding.direct_int8_from,
        direct_dynamic_range_from=encoding.direct_dynamic_range_from,
    )


def why_no_gain(profile: DeviceProfile, runtimes: Iterable[Runtime]) -> str:
    """Why sparse networks gain nothing on the profile's core in any runtime; empty if they do.

    Args:
      profile: the device; only the runtimes count in which its route pays, if that names some.
      runtimes: those that read its sparse files.
    """
    paid = profile.route.runtimes
    asked = [each for each in runtimes if not paid or each.name in paid]
    halves = "fp16-arithmetic" in CORE_FEATURES.get(profile.core, frozenset())
    known = delegating(asked)
    if halves or not known or not all(rules_for(each).needs_fp16 for each in known):
        return ""
    return (
        f"{' and '.join(map(str, known))} skips no zeros on {profile.core}: its sparse kernels "
        "need half-precision arithmetic, which that core does not have"
    )


def runtimes_of(profile: DeviceProfile) -> tuple[Runtime, ...]:
    """The runtimes that a file has to load in, in the order of the profile."""
    return tuple(Runtime(entry.name, entry.version) for entry in profile.runtimes)

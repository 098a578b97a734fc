"""What a device profile says of files: how weights may be stored, and which runtimes load them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprune.core.runtime import Runtime
from edgeprune.tflite.storage_plan import EncodingRules

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile


def rules_of(profile: DeviceProfile) -> EncodingRules:
    """The rules that a device profile sets, for its runtimes that read sparse tensors."""
    encoding = profile.encoding
    return EncodingRules(
        runtimes=tuple(
            runtime
            for name in encoding.runtimes
            for runtime in runtimes_of(profile)
            if runtime.name == name
        ),
        sparse_networks=encoding.sparse_networks,
        direct_float32_from=encoding.direct_float32_from,
        direct_int8_from=encoding.direct_int8_from,
        direct_dynamic_range_from=encoding.direct_dynamic_range_from,
    )


def runtimes_of(profile: DeviceProfile) -> tuple[Runtime, ...]:
    """The runtimes that a file has to load in, in the order of the profile."""
    return tuple(Runtime(entry.name, entry.version) for entry in profile.runtimes)

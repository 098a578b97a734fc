"""What a device profile says of files: how weights may be stored, and which runtimes load them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from edgeprune.tflite.storage_plan import EncodingRules

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile
if sys.version_info >= (3, 11):
    pass
else:
    pass
if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile


def rules_of(profile: DeviceProfile) -> EncodingRules:
    """The rules that a device profile sets."""
    encoding = profile.encoding
    return EncodingRules(
        runtimes=encoding.runtimes,
        sparse_networks=encoding.sparse_networks,
        direct_float32_from=encoding.direct_float32_from,
        direct_int8_from=encoding.direct_int8_from,
        direct_dynamic_range_from=encoding.direct_dynamic_range_from,
    )


def runtime_names(profile: DeviceProfile) -> tuple[str, ...]:
    """The runtimes of a profile as `op_versions` names them."""
    return tuple(f"{runtime.name} {runtime.version}" for runtime in profile.runtimes)

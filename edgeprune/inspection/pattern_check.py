"""Whether weights that were pruned n:m still hold the pattern in the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeprune.core.pattern import NofM
from edgeprune.targets.checks import Check
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.n_of_m import pattern_fits

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile


def check_pattern(graph: Graph, profile: DeviceProfile) -> Iterator[Check]:
    """Whether weights that were pruned n:m are still so in the file, if the device skips n:m."""
    patterns = {
        rule.pattern
        for strategy in profile.offered
        for rule in strategy.rules
        if isinstance(rule.pattern, NofM)
    }
    for pattern in sorted(patterns, key=str):
        found = pattern_fits(graph, pattern)
        whole = sum(each.whole for each in found)
        lost = [
            f"{each.name} ({each.misfits} of {each.groups} groups)" for each in found if each.lost
        ]
        message = (
            f"more than {pattern.n} of {pattern.m} input channels are not zero in "
            f"{'; '.join(lost)}: the hardware skips nothing there. Prune the model again, and "
            "export it with edgeprune"
            if lost
            else f"{whole} of {len(found)} weights hold the pattern along their input channels"
        )
        yield Check(f"pattern {pattern}", not lost, len(lost), 0, message, kind="pattern")

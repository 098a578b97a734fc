"""The conditions of XNNPACK's sparse mode: which networks run sparsely, and right, on ARM64."""

from edgeprune.tflite.gate.rules import XnnpackRules, delegating, known_rules, rules_for
from edgeprune.tflite.gate.verdict import (
    NetworkState,
    NetworkVerdict,
    OpVerdict,
    asks_for_sparse,
    judge,
    judge_each,
    judge_file,
    never_engages,
)

__all__ = [
    "NetworkState",
    "NetworkVerdict",
    "OpVerdict",
    "XnnpackRules",
    "asks_for_sparse",
    "delegating",
    "judge",
    "judge_each",
    "judge_file",
    "known_rules",
    "never_engages",
    "rules_for",
]

"""The conditions of XNNPACK's sparse mode: which networks run sparsely, and right, on ARM64."""

from edgeprune.tflite.gate.compatibility import RULES, RuntimeName
from edgeprune.tflite.gate.verdict import (
    OpVerdict,
    State,
    Verdict,
    asks_for_sparse,
    judge,
    judge_file,
    never_engages,
)

__all__ = [
    "RULES",
    "OpVerdict",
    "RuntimeName",
    "State",
    "Verdict",
    "asks_for_sparse",
    "judge",
    "judge_file",
    "never_engages",
]

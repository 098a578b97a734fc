"""What `scripts/check_instrument` concludes from runs; it starts no emulator here."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from edgeprune.targets.child import Reply
from tests.support.instrument_checks import Run, difference

assert sys.platform == "linux"


def reply(*outputs: object) -> Reply:
    return Reply({}, tuple(np.array(output, np.float32) for output in outputs))


@pytest.mark.parametrize(
    ("run", "states"),
    [
        (Run(3e-7, 1000, 500), {"on", "dangerous"}),
        (Run(3e-7, 1000, 1000), {"off"}),
        (Run(3e-7, 1000, 1004), {"off"}),
        (Run(0.3, 1000, 900), {"dangerous"}),
        (Run(0.3, 1000, 1000), {"dangerous"}),
        (Run(math.inf, 1000, 0), {"dangerous"}),
        (Run(math.nan, 1000, 500), {"dangerous"}),
    ],
)
def test_a_run_fits_the_verdicts_that_are_true_of_it(run: Run, states: set[str]) -> None:
    assert {state for state in ("on", "off", "dangerous") if run.fits(state)} == states


def test_outputs_differ_by_the_largest_error_relative_to_the_largest_output() -> None:
    assert difference(reply([[1, -2]]), reply([[1, -2]])) == 0
    assert difference(reply([1, -2], [4]), reply([1, -2], [3])) == pytest.approx(0.25)
    assert difference(reply([1, -2]), reply([1.5, -2])) == pytest.approx(0.25)
    assert difference(reply([0]), reply([1])) == 1
    assert difference(reply([[1, 2]]), reply([1, 2])) == math.inf
    assert difference(reply([1]), reply([math.nan])) == math.inf

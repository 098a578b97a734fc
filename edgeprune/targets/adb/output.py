"""What `benchmark_model` prints, in the forms that its versions have.

All write a line of statistics per phase, the warm-up first, and a summary behind the last:
    count=50 first=747738 curr=747428 min=747331 max=748577 avg=747733 std=293
    Average inference timings in us: Warmup: 751932, Init: 21039, no stats: 747733
Older ones say `no stats:` or `Inference:`; later ones `Inference (avg):`, with `First inference:`
before it. Of these, newer ones begin lines with `INFO: `, and the newest add `p5=... median=...
p95=...` to the statistics. A phase of one run has `count` and `curr` alone.

Source: tensorflow/lite/tools/benchmark/benchmark_model.cc and tensorflow/core/util/
stats_calculator.h of TensorFlow, and the published outputs in tests/benchmark_model/.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edgeprune.targets.child import MAX_MESSAGE, WorkerError


@dataclass(frozen=True)
class Benchmark:
    """One run of the program, in microseconds; None is not printed by its version."""

    runs: int
    mean: float
    median: float | None
    init: float | None
    xnnpack: bool
    """Whether it says that XNNPACK was there."""


def parse_output(text: str) -> Benchmark:
    """Reads what the program printed.

    Raises:
      WorkerError: there is no summary: it refused the file, or its form is not known.
    """
    summary = re.search(r"[Ii]nference timings in us: (.+)", text)
    phases = re.findall(r"\bcount=[1-9].*", text[: summary.start()] if summary else "")
    if not summary or not phases:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        wrong = [line for line in lines if re.search("error|fail|cannot|denied", line.lower())]
        said = " ".join(wrong or lines[-3:])[:MAX_MESSAGE]
        raise WorkerError(f"benchmark_model gave no timings: {said or 'it printed nothing'}")
    statistics = _numbers(rf"(\w+)=({_NUMBER})", phases[-1])
    totals = _numbers(rf"(\w[\w ()]*): ({_NUMBER})", summary[1])
    runs, mean = statistics.get("count"), statistics.get("avg", statistics.get("curr"))
    median = statistics.get("median")
    times = [value for value in (mean, median) if value is not None]
    if runs is None or runs < 1 or mean is None or not all(0 < time < math.inf for time in times):
        raise WorkerError(
            "benchmark_model gave timings that are no positive numbers: "
            f"{phases[-1].strip()[:MAX_MESSAGE]}"
        )
    return Benchmark(
        runs=int(runs),
        mean=mean,
        median=median,
        init=totals.get("Init"),
        xnnpack="XNNPACK delegate" in text,
    )


_NUMBER = r"[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE]\+?[0-9]{1,2})?(?![0-9.eE])"


def _numbers(pattern: str, text: str) -> dict[str, float]:
    return {name: float(number) for name, number in re.findall(pattern, text)}

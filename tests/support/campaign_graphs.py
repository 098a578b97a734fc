"""Random Keras graphs through all profiles: what is exported computes what the pruned model does.

A case is one graph for every profile: planned, pruned in one shot, exported, and validated against
the pruned Keras model. A refusal in words is counted, and no fault.
"""

from __future__ import annotations

import re
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgeprune
from edgeprune.core.errors import EdgepruneError
from edgeprune.profiles.folder import profile_names
from edgeprune.targets.checks import Verdict
from tests.support.campaign_outcome import MOST_BYTES, Outcome
from tests.support.random_graphs import random_graph

STEP_S = 60.0
"""Longest step: TensorFlow's converter alone takes seconds, and more on a busy machine."""
SAMPLES = 48
COMPUTING = frozenset({"runs", "outputs", "kernels", "finite", "sparse-network"})
"""Kinds of checks that say whether a file computes what it should; limits of sizes do not."""
Fault = tuple[str, str]


def cases(folder: Path, seed: int, numbers: Sequence[int]) -> Iterator[Outcome]:
    """Runs cases one behind the other; yields how each ended."""
    warnings.simplefilter("ignore")
    for number in numbers:
        graph_seed = seed * 1_000_003 + number
        before = _reset_peak()
        faults: list[Fault] = []
        notes = []
        for device in profile_names():
            found, note = _pass(random_graph(graph_seed), device, folder, graph_seed)
            faults.extend(found)
            notes.append(note)
        grown = _memory("VmHWM") - before
        if grown > MOST_BYTES:
            faults.append(("over 1 GB", f"{grown >> 20} MiB"))
        yield Outcome(number, tuple(faults), tuple(notes))


def _pass(model: Any, device: str, folder: Path, seed: int) -> tuple[list[Fault], str]:
    """One graph through one profile: the faults, and whether it was exported or refused."""
    shape = (SAMPLES, *model.input_shape[1:])
    x = [np.random.default_rng(seed).standard_normal(shape).astype(np.float32)]
    reference, output = folder / "pruned.keras", folder / "pruned.tflite"
    faults: list[Fault] = []

    def timed(what: str, step: Any) -> Any:
        begin = time.monotonic()
        answer = step()
        if time.monotonic() - begin > STEP_S:
            faults.append(("hangs", f"{device}: {what} took {time.monotonic() - begin:.0f} s"))
        return answer

    try:
        plan = timed("plan", lambda: edgeprune.plan(model, device))
        pruned = timed("prune", lambda: edgeprune.prune(model, plan, x))
        pruned.save(reference)
        timed("export", lambda: edgeprune.export(pruned, device, output, x=x))
        faults += judge(output, device, reference, x)
    except EdgepruneError as error:
        return faults, f"refused for {device} ({type(error).__name__}: {str(error)[:90]})"
    except Exception:  # noqa: BLE001  whatever escapes is what is looked for
        return [*faults, ("tracebacks", f"{device}: {traceback.format_exc()[-900:]}")], "failed"
    return faults, "exported"


def judge(output: Path, device: str, reference: Path, x: list[Any]) -> list[Fault]:
    """What the host runtimes say of a file beside its Keras model."""
    verdict: Verdict = edgeprune.validate(output, device, reference=reference, x=x)
    return [
        ("wrong outputs", f"{device}: {check.name}: {check.message}")
        for check in verdict.checks
        if not check.ok and check.kind in COMPUTING
    ]


def _memory(name: str) -> int:
    """Bytes that the system states of this process."""
    (kib,) = re.findall(
        rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    return int(kib) << 10


def _reset_peak() -> int:
    """Makes the peak count from now on; returns the bytes in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")

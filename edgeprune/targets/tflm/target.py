"""The instrument: arena, flash and outputs of files in TensorFlow Lite Micro."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.arrays import Array
from edgeprune.core.errors import TargetError
from edgeprune.core.files import describe_file
from edgeprune.targets.checks import Case, Check, check_finite, named_outputs
from edgeprune.targets.child import Reply, WorkerError, run_worker
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.limits import check_limit
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.packages import Package
from edgeprune.targets.replies import check_refusal, check_reply, check_runs
from edgeprune.targets.sparse_weights import sparse_refusal
from edgeprune.targets.target import Capabilities, Readiness
from edgeprune.targets.tflm.memory import code_words, memory_of
from edgeprune.tflite.decode.plain_form import plain_form
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.decode_operator import holds_packed
from edgeprune.tflite.format.file import Graph
from edgeprune.tflite.format.graph import item_bits
from edgeprune.tflite.format.signature import input_ports, output_ports
from edgeprune.tflite.streams import is_fresh

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

_NAME = "tflm"
TFLM_PACKAGE = Package(_NAME, "tflite-micro", "0.dev20261023182759")
TFLM_WORKER = Path(__file__).with_name("worker.py")
_TIME_LIMIT_S = 300.0
SMALLEST_ARENA = 1 << 20
CONDITIONS = (
    "TFLite Micro's own interpreter and reference kernels on this computer, batch 1; no latency, "
    "since that of this computer says nothing about a microcontroller"
)
SOFTMAX_SCALE = 2.0**-26
"""Below it TFLite Micro ends the process: it asks for input scale * beta * 2^26 to be above 1.

Source: CalculateSoftmaxParams in tensorflow/lite/micro/kernels/softmax_common.cc, seen with the
wheel 0.dev20261023182759.
"""


class Tflm:
    """Runs files in TensorFlow Lite Micro, each in a child process."""

    capabilities = Capabilities(says_flash=True, unpacks=True, repeatable=True)

    def readiness(self) -> Readiness:
        """Ready if the package is installed."""
        return TFLM_PACKAGE.readiness()

    def install(self, tell: Callable[[str, int, int], None]) -> None:
        """Installs the package where edgeprune is."""
        TFLM_PACKAGE.install(tell)

    def run(self, graph: Graph, inputs: list[Array], compared: Graph | None = None) -> Reply:
        """Runs samples one at a time; inputs and outputs are in the order of the signature.

        Args:
          graph: the file.
          inputs: one array `[n, ...]` per input.
          compared: a file with the same inputs, whose time is compared.

        Returns:
          The outputs, and the facts `runtime`, `output_scales`, `unregistered` (operators by name),
          `allocations` (bytes by the recording allocator's names) and `time_ratio` (of `compared`
          over the file; 0 without one). With an unregistered operator there are no outputs and no
          more than the first three.

        Raises:
          TargetError: TFLite Micro is not installed.
          WorkerError: it refuses the file, crashes on it or does not end.
        """
        TFLM_PACKAGE.require()
        model = {
            "path": str(graph.path.absolute()),
            "input_places": [graph.inputs.index(port.tensor) for port in input_ports(graph)],
            "output_places": [graph.outputs.index(port.tensor) for port in output_ports(graph)],
            "fresh": is_fresh(graph),
        }
        job: dict[str, Any] = {"models": [model], "arena_bytes": roomy_arena(graph)}
        if compared is not None:
            job["compared"] = str(compared.path.absolute())
        try:
            return run_worker(job, [inputs], script=TFLM_WORKER, time_limit_s=_TIME_LIMIT_S)
        except WorkerError as error:
            raise WorkerError(f"{error}{_crash_hint(graph)}") from error

    def measure(
        self, models: Sequence[Path], profile: DeviceProfile, settings: Settings
    ) -> tuple[Measurement, ...]:
        """Arena and flash of every file."""
        if settings.runtime is not None:
            raise TargetError(
                f"Target '{_NAME}' has one runtime, TFLM. Received: {settings.runtime}."
            )
        return tuple(_measure(tflite_file.read(path), profile) for path in models)

    def check(self, case: Case) -> Iterator[Check]:
        """Whether TFLite Micro takes a file, computes the same, and its arena and flash suffice."""
        misread = _sparse_refusal(case.graph)
        if misread:
            yield Check("dense weights (TFLM)", False, "sparse", "dense", misread, kind="storage")
            return
        state = self.readiness()
        if not state.ready:
            message = f"not proven on TFLite Micro: {state.detail}. To run it: {state.remedy}"
            yield Check("runs (TFLM)", True, None, None, message, kind="runs")
            return
        try:
            reply = self.run(case.graph, case.inputs)
        except WorkerError as error:
            yield check_refusal(case, "TFLM", error)
            return
        yield _check_operators(reply)
        if not reply.facts["unregistered"]:
            yield from _check_reply(case, reply)
            yield from self._check_packed(case, reply)

    def _check_packed(self, case: Case, reply: Reply) -> Iterator[Check]:
        """Whether a packed file computes bit for bit what it computes with its weights unpacked."""
        if not holds_packed(case.graph):
            return
        name = "packed as plain (TFLM)"
        try:
            with plain_form(case.graph) as plain:
                other = self.run(plain, case.inputs)
        except WorkerError as error:
            yield check_refusal(case, "TFLM, unpacked", error)
            return
        pairs = list(zip(reply.outputs, other.outputs, strict=True))
        unequal = sum(int((one != another).sum()) for one, another in pairs)
        count = len(case.inputs[0])
        message = (
            f"{unequal} outputs differ between packed and unpacked weights: pack the file again"
            if unequal
            else f"bit for bit the same outputs with packed and unpacked weights, on {count} inputs"
        )
        yield Check(name, not unequal, unequal, 0, message, kind="outputs")


TFLM = Tflm()


def roomy_arena(graph: Graph) -> int:
    """Bytes of an arena that a file hardly ever outgrows.

    Room for all activations at once, though they take turns, for as much scratch and for what is
    kept of every tensor and weight.
    """
    tensors = [tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors]
    activations = sum(
        math.prod(tensor.shape) * (item_bits(tensor.dtype) or 8) // 8
        for tensor in tensors
        if not tensor.constant
    )
    return SMALLEST_ARENA + 2 * activations + 1024 * len(tensors) + graph.size_bytes


def _sparse_refusal(graph: Graph) -> str:
    """Why TFLite Micro must not get a file that stores weights sparsely; empty if it may."""
    return sparse_refusal(
        graph,
        restored="behind DENSIFY, which TFLite Micro does not have",
        misread="and TFLite Micro would load it without an error and compute from the wrong bytes",
    )


def _crash_hint(graph: Graph) -> str:
    """What is known to make TFLite Micro end its process on such a file; empty if nothing is."""
    for operator in graph.operators:
        if operator.op != "SOFTMAX":
            continue
        scales = graph.tensors[operator.inputs[0]].scales.tolist()
        if scales and scales[0] < SOFTMAX_SCALE:
            return (
                f" (the input of SOFTMAX has scale {scales[0]:.1e}, and TFLite Micro ends the "
                f"process below {SOFTMAX_SCALE:.1e}: what comes before it is zero on all "
                "calibration data; train the model, or calibrate with other data)"
            )
    return ""


def _check_operators(reply: Reply) -> Check:
    missing = reply.facts["unregistered"]
    message = (
        f"TFLite Micro does not register {', '.join(missing)}: replace the layers behind them"
        if missing
        else "TFLite Micro registers every operator"
    )
    name = f"operators ({reply.facts['runtime']})"
    return Check(name, not missing, len(missing), 0, message, kind="operators")


def _check_reply(case: Case, reply: Reply) -> Iterator[Check]:
    yield check_runs(case, reply)
    yield check_finite(named_outputs(case.graph, reply.outputs), reply.facts["runtime"])
    if case.wanted is not None:
        yield check_reply(case, reply, case.wanted)
    memory = memory_of(reply, case.graph, case.profile)
    limits = case.profile.limits
    arena = (
        f"{memory['arena_head_bytes']} of activations and scratch, {memory['arena_tail_bytes']} "
        "that stay (counted with this computer's 64-bit pointers, so a little more than there)"
    )
    yield check_limit("arena (TFLM)", memory["arena_bytes"], limits.arena_bytes, arena)
    flash = f"the model{code_words(case.graph, case.profile)}"
    yield check_limit("flash (TFLM)", memory["flash_bytes"], limits.flash_bytes, flash)


def _measure(graph: Graph, profile: DeviceProfile) -> Measurement:
    misread = _sparse_refusal(graph)
    if misread:
        raise WorkerError(f"{graph.path}: {misread}")
    with plain_form(graph) as plain:
        before = None if plain is graph else _run_once(plain)
        reply = _run_once(graph, None if before is None else plain)
    artifact = describe_file(graph.path)
    memory = memory_of(reply, graph, profile)
    if before is not None:
        memory["plain_arena_bytes"] = before.facts["allocations"]["total"]
    return Measurement(
        model=str(graph.path),
        device=profile.name,
        target=_NAME,
        runtime=reply.facts["runtime"],
        simulated=False,
        size_bytes=artifact.size_bytes,
        gzip_bytes=artifact.gzip_bytes,
        memory=memory,
        host_time_ratio=reply.facts["time_ratio"] or None,
        conditions=f"{CONDITIONS}; flash is the model{code_words(graph, profile)}",
        warnings=(
            "The arena was counted with this computer's 64-bit pointers: its tail is smaller on a "
            "32-bit microcontroller, and kernels such as CMSIS-NN's may ask for other scratch "
            "buffers.",
            *_packed_warnings(memory, reply),
        ),
    )


def _run_once(graph: Graph, compared: Graph | None = None) -> Reply:
    try:
        reply = TFLM.run(graph, generated_inputs(graph, 1), compared)
    except WorkerError as error:
        raise WorkerError(f"{graph.path}: TFLite Micro does not run it: {error}") from error
    missing = reply.facts["unregistered"]
    if missing:
        raise WorkerError(
            f"{graph.path}: expected operators that TFLite Micro registers. Received: "
            f"{', '.join(missing)}. Replace the layers behind them."
        )
    return reply


def _packed_warnings(memory: dict[str, int], reply: Reply) -> Iterator[str]:
    """What packed weights cost beside their code; nothing for a plain file."""
    if "plain_arena_bytes" in memory:
        grows = memory["arena_bytes"] - memory["plain_arena_bytes"]
        yield (
            f"Unpacking takes {grows} bytes of arena more than the plain file, and "
            f"{1 / reply.facts['time_ratio']:.2f} times its time in this computer's interpreter, "
            "which says nothing of a microcontroller's."
        )

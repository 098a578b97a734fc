"""Packs a file's weights behind DECODE, as far as an arena allows, and shows that nothing changed.

TFLite Micro itself says how large the arena is before and after, and what is computed, where it is
installed; without it only how much larger the arena becomes is known, and only by our own account.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.core.errors import CheckError, errors_name
from edgeprune.core.files import write_file
from edgeprune.targets.child import Reply, WorkerError
from edgeprune.targets.inputs import generated_inputs
from edgeprune.targets.tflm.target import TFLM, TFLM_PACKAGE
from edgeprune.tflite.decode.choose import Arena, Choice, arena_of, choose
from edgeprune.tflite.decode.pack import pack_weights
from edgeprune.tflite.decode.weights import Weight, weights_to_pack
from edgeprune.tflite.firmware_arena import FirmwareArena, measured_size
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.storage_plan import TensorPlan

if TYPE_CHECKING:
    from edgeprune.profiles.profile import DeviceProfile

_COMPARED_SAMPLES = 2
_NO_ROOM = "unpacked it does not fit into the arena with what it saves elsewhere"


@dataclass(frozen=True)
class Packed:
    """What `pack_file` did.

    Bytes of arena are TFLite Micro's where `measured`; else planned buffers and what DECODEs keep,
    which say how much larger the arena becomes and not how large it is.
    """

    plain: Path
    """The file without packed weights, which every runtime reads."""
    plain_bytes: int
    packed_bytes: int
    plain_arena: int
    packed_arena: int
    measured: bool
    limit: int | None
    """The most bytes of arena that were allowed; None where nothing set a limit."""
    exact: bool
    """Whether no smaller file within that limit was left untried."""
    tensors: tuple[TensorPlan, ...]
    """How each weight is stored now, and why."""

    @property
    def arena_grows(self) -> int:
        """Bytes by which the arena becomes larger."""
        return self.packed_arena - self.plain_arena

    @property
    def packs(self) -> bool:
        """Whether any weight is packed."""
        return any(tensor.storage == "decode" for tensor in self.tensors)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json` and the manifest; arenas are null where not measured."""
        return {
            "plain": self.plain.name,
            "plain_bytes": self.plain_bytes,
            "packed_bytes": self.packed_bytes,
            "plain_arena_bytes": self.plain_arena if self.measured else None,
            "packed_arena_bytes": self.packed_arena if self.measured else None,
            "arena_grows_bytes": self.arena_grows,
            "max_arena_bytes": self.limit,
            "exact": self.exact,
            "packed": [tensor.name for tensor in self.tensors if tensor.storage == "decode"],
        }

    def sentences(self, code_bytes: int | None) -> tuple[str, ...]:
        """What it comes to, for a person: sizes, the firmware's code and the arena.

        Args:
          code_bytes: what the operator takes in the firmware; None if that is not known.
        """
        if not self.packs:
            return (f"No weight is packed, and {self.plain} is an equal file.",)
        count = sum(tensor.storage == "decode" for tensor in self.tensors)
        saved = self.plain_bytes - self.packed_bytes
        sizes = (
            f"{count} of {len(self.tensors)} weights packed: {self.plain_bytes} to "
            f"{self.packed_bytes} bytes; unpacked it is {self.plain}."
        )
        return sizes, _pays(saved, code_bytes), self._about_arena()

    def _about_arena(self) -> str:
        what = "by TFLite Micro" if self.measured else "not measured: TFLite Micro is not here"
        arena = f"The arena grows by {self.arena_grows} bytes"
        if self.measured:
            arena += f", from {self.plain_arena} to {self.packed_arena}"
        limit = "no limit is known" if self.limit is None else f"the limit is {self.limit}"
        search = "" if self.exact else "; a smaller file within it may exist"
        return f"{arena} ({what}); {limit}{search}."


def _pays(saved: int, code_bytes: int | None) -> str:
    """Whether the file saves more than the operator's code takes."""
    if code_bytes is None:
        return f"It saves {saved} bytes, less what the code of DECODE takes in your firmware."
    if saved > code_bytes:
        return f"It saves {saved - code_bytes} bytes of flash beside {code_bytes} of DECODE's code."
    return (
        f"It saves nothing: the {saved} bytes are no more than the {code_bytes} of DECODE's code. "
        "Ship the plain file, unless the firmware has DECODE already."
    )


def plain_path(output: Path) -> Path:
    """Where the file without packed weights goes: `OUT.plain.tflite` beside `OUT.tflite`."""
    return output.with_suffix(".plain.tflite")


def write_packed(
    plain: Path, output: Path, profile: DeviceProfile, max_arena: int | None = None
) -> Packed:
    """Writes a file with its weights packed to `output`, and the plain one beside it.

    Args:
      plain: the file without packed weights, wherever it is now.
      output: the packed one's final place.
      profile: whose arena sets the limit where `max_arena` is None.
      max_arena: the most bytes of arena.

    Raises:
      EdgepruneError: as `pack_file`; nothing was written then.
    """
    limit = profile.limits.arena_bytes.value if max_arena is None else max_arena
    with (
        errors_name(output.name, plain.name),
        tempfile.TemporaryDirectory(prefix="edgeprune-") as folder,
    ):
        made = Path(folder, output.name)
        done = pack_file(plain, made, limit)
        beside = plain_path(output)
        write_file(beside, plain.read_bytes())
        write_file(output, made.read_bytes())
    return replace(done, plain=beside)


def pack_file(source: Path, output: Path, limit: int | None = None) -> Packed:
    """Writes a file with those weights packed that make it smallest within an arena.

    Args:
      source: a dense file; it stays as it is, and is named as the plain one.
      output: where the packed one goes; an equal file where nothing is gained.
      limit: the most bytes of arena, as TFLite Micro counts them; any if None.

    Raises:
      TfliteError: `source` is not a sound .tflite file.
      TargetError: there is a limit and TFLite Micro is not installed.
      CheckError: TFLite Micro does not run a file, or computes something else from the packed one.
      OutputError: `output` cannot be written.
    """
    if limit is not None:
        TFLM_PACKAGE.require()
    graph = load(source).graph
    weights = weights_to_pack(graph)
    ready = TFLM.readiness().ready
    before = _run(source) if ready else None
    arena = arena_of(graph.subgraphs[0], _arena_bytes(before))
    choice, after = _pack_within(source, output, weights, arena, limit)
    small = output.stat().st_size < graph.size_bytes
    if not choice.weights or not small:
        choice, after = Choice((), choice.exact), before
        write_file(output, source.read_bytes())
    if before is not None and after is not None:
        _require_same(source, before, after)
    estimated = arena.bytes_with(choice.weights)
    return Packed(
        plain=source,
        plain_bytes=graph.size_bytes,
        packed_bytes=output.stat().st_size,
        plain_arena=arena.bytes_with(()),
        packed_arena=_arena_bytes(after) or estimated,
        measured=ready,
        limit=limit,
        exact=choice.exact,
        tensors=tuple(_row(weight, choice) for weight in weights),
    )


def measured_arena(path: Path) -> FirmwareArena | None:
    """The arena in which TFLite Micro runs a file; None where it is not installed.

    Raises:
      CheckError: it does not run the file.
    """
    if not TFLM.readiness().ready:
        return None
    reply = _run(path)
    return measured_size(reply.facts["allocations"]["total"], reply.facts["runtime"])


def _pack_within(
    source: Path, output: Path, weights: Sequence[Weight], arena: Arena, limit: int | None
) -> tuple[Choice, Reply | None]:
    """Writes the packed file, with fewer weights until TFLite Micro finds it within the limit."""
    allowed = limit
    while True:
        choice = choose(weights, arena, allowed)
        draft = load(source)
        pack_weights(draft, choice.weights)
        write(draft, output)
        reply = _run(output) if TFLM.readiness().ready else None
        over = (_arena_bytes(reply) or 0) - (limit or 0)
        if limit is None or allowed is None or over <= 0 or not choice.weights:
            return choice, reply
        allowed = min(allowed, arena.bytes_with(choice.weights)) - 1


def _run(path: Path) -> Reply:
    graph = read(path)
    try:
        reply = TFLM.run(graph, generated_inputs(graph, _COMPARED_SAMPLES))
    except WorkerError as error:
        raise CheckError(
            f"{path.name}: TFLite Micro does not run it ({error}); nothing was packed."
        ) from error
    if reply.facts["unregistered"]:
        raise CheckError(
            f"{path.name}: expected operators that TFLite Micro registers. Received: "
            f"{', '.join(reply.facts['unregistered'])}. Replace the layers behind them."
        )
    return reply


def _arena_bytes(reply: Reply | None) -> int | None:
    return None if reply is None else int(reply.facts["allocations"]["total"])


def _require_same(path: Path, before: Reply, after: Reply) -> None:
    pairs = zip(before.outputs, after.outputs, strict=True)
    if not all(np.array_equal(one, other, equal_nan=True) for one, other in pairs):
        raise CheckError(
            f"{path.name}: TFLite Micro computes something else from the packed weights than from "
            "the plain ones. Export without the route that packs, and report this file."
        )


def _row(weight: Weight, choice: Choice) -> TensorPlan:
    chosen = weight in choice.weights
    reason = "takes less flash; DECODE unpacks it at every inference" if chosen else weight.refusal
    return TensorPlan(
        tensor=weight.tensors[0].index,
        name=weight.tensors[0].name,
        operator=weight.readers[0].op,
        storage="decode" if chosen else "dense",
        layout=None,
        reason=reason or _NO_ROOM,
        sparsity=weight.sparsity,
        dense_bytes=weight.dense_bytes,
        sparse_bytes=weight.packed_bytes,
    )

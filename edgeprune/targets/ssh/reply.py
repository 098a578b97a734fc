"""What a board may reply: whatever else it says is refused, in words, and none of it is kept.

A board runs programs that others wrote, and a connection may be cut anywhere, so nothing that comes
from there is taken on trust: neither form nor type nor size.
"""

from __future__ import annotations

import io
import zipfile
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from edgeprune.core.errors import TargetError
from edgeprune.core.npz import DAMAGE
from edgeprune.core.schema import Count, Table, explain_invalid
from edgeprune.targets.child import Reply, read_reply

RESULT, OUTPUTS = "result.json", "outputs.npz"
MAX_BYTES = {RESULT: 4 << 20, OUTPUTS: 256 << 20}
"""Bytes of each file that a board may send."""

_Text = Annotated[str, Field(max_length=500)]
_Celsius = Annotated[float, Field(gt=-300, lt=10_000)]
_Time = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Scale = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Samples = Annotated[tuple[_Time, ...], Field(min_length=1)]


_Line = TypeVar("_Line", bound=Table)


class Ready(Table):
    """The first reply: the board's Python."""

    python: str


class Done(Table):
    """How the worker ended, and the files that follow."""

    code: Annotated[int, Field(ge=-128, le=255)] | None
    """None after the time limit; minus the number of a signal."""
    errors: str
    files: tuple[tuple[Literal["result.json", "outputs.npz"], int], ...]
    """Names and sizes."""

    @model_validator(mode="after")
    def _check(self) -> Done:
        names = [name for name, _ in self.files]
        if len(set(names)) < len(names):
            raise ValueError(f"files: each must be unique. Received: {', '.join(names)}")
        for name, size in self.files:
            if not 0 <= size <= MAX_BYTES[name]:
                raise ValueError(
                    f"files: expected 0 to {MAX_BYTES[name]} bytes of {name}. Received: {size}"
                )
        if self.code == 0 and RESULT not in names:
            raise ValueError(f"files: {RESULT} is missing")
        return self


class _Machine(Table):
    board: _Text | None
    cpu: _Text
    cores: Count | None
    governor: _Text | None
    system: _Text
    python: _Text


class _Description(_Machine):
    runtimes: dict[_Text, _Text]
    temperature_c: _Celsius | None


class _Work(Table):
    runtime: _Text
    machine: _Machine
    affinity: tuple[int, ...] | None
    temperature_c: tuple[_Celsius | None, _Celsius | None]


class _Run(_Work):
    output_scales: tuple[_Scale, ...]


class _Timing(_Work):
    samples_ms: tuple[_Samples, ...]
    invokes_per_sample: tuple[Count, ...]


_FACTS: dict[str, type[Table]] = {"describe": _Description, "run": _Run, "time": _Timing}


def read_line(who: object, text: str, table: type[_Line]) -> _Line:
    """Reads a line of the protocol.

    Raises:
      TargetError: it is no such line.
    """
    try:
        return table.model_validate_json(text)
    except ValidationError as error:
        raise _unexpected(who, explain_invalid(error, table)) from error


def read_files(who: object, job: dict[str, Any], result: bytes, outputs: bytes) -> Reply:
    """Reads the worker's files, as `read_reply` does those of a worker here.

    Args:
      who: the board's address, for messages.
      job: what was to be done.
      result: `result.json`.
      outputs: `outputs.npz`; empty if there is none.

    Raises:
      TargetError: they are not what the worker writes for such a job.
    """
    try:
        _require_stored(outputs)
        reply = read_reply(result, outputs)
    except DAMAGE as error:
        raise _unexpected(who, f"files that do not read as its results ({error}).") from error
    table = _FACTS[job["kind"]]
    try:
        facts = table.model_validate(reply.facts).model_dump(mode="json")
    except ValidationError as error:
        raise _unexpected(who, explain_invalid(error, table)) from error
    wrong = _misfit(job, facts, reply)
    if wrong:
        raise _unexpected(who, wrong)
    return Reply(facts, reply.outputs)


def _require_stored(archive: bytes) -> None:
    """Checks that an archive is not compressed, as the worker writes it, so that it stays small.

    Raises:
      ValueError: it is.
    """
    if archive:
        with zipfile.ZipFile(io.BytesIO(archive)) as members:
            if sum(member.file_size for member in members.infolist()) > len(archive):
                raise ValueError("arrays that are compressed")


def _misfit(job: dict[str, Any], facts: dict[str, Any], reply: Reply) -> str:
    """What of a reply does not belong to its job; empty if all does."""
    models = job["models"]
    if job["kind"] == "time":
        lengths = {len(samples) for samples in facts["samples_ms"]}
        if len(facts["samples_ms"]) != len(models) or len(lengths) > 1:
            return f"not as many times of each of {len(models)} files as of the others."
    if job["kind"] == "run":
        wanted = len(models[0]["output_tensors"])
        if not len(reply.outputs) == len(facts["output_scales"]) == wanted:
            return f"other than {wanted} outputs and their scales."
        if any(array.ndim < 1 or array.dtype.kind not in "fiub" for array in reply.outputs):
            return "outputs that are no arrays of numbers."
    return ""


def _unexpected(who: object, received: str) -> TargetError:
    return TargetError(
        f"{who}: expected a reply of edgeprune's own program there. Received: {received} Look for "
        "what else writes to the connection, such as a login script: ssh ... true prints nothing."
    )

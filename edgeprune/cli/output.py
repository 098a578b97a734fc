"""What several commands print alike."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli import terminal

if TYPE_CHECKING:
    from edgeprune.profiles.facts import Packing
    from edgeprune.targets.tflm.packing import Packed
    from edgeprune.tflite.rewrites import Applied


def print_json(content: Any) -> None:
    """Writes a JSON document to standard output; a number that is not finite becomes null."""
    click.echo(json.dumps(_finite(content), indent=2, allow_nan=False))
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_PRINTED] = True


_PRINTED = "edgeprune.document_printed"


def print_error(kind: str, message: str) -> None:
    """Writes why a command failed as its JSON document, unless it has written one already."""
    context = click.get_current_context(silent=True)
    if context is None or _PRINTED not in context.meta:
        print_json({"error": {"kind": kind, "message": message}})


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def network_json(applied: Sequence[Applied], reason: str) -> dict[str, Any]:
    """What came of the network where the device has a sparse mode, as keys of a document."""
    return {"rewrites": {change.name: change.places for change in applied}, "network": reason}


def say_network(applied: Sequence[Applied], reason: str) -> None:
    """Says what came of the network where the device has a sparse mode."""
    if reason:
        changes = ", ".join(f"{change.name} ({change.places})" for change in applied)
        terminal.say(f"The network {reason}{f': {changes}' if changes else ''}.")


def say_packing(packed: Packed | None, packing: Packing | None) -> None:
    """Says what packing weights came to, where the route packs them."""
    if packed is not None:
        code = packing.code_bytes.value if packing else None
        for sentence in packed.sentences(code):
            terminal.say(sentence)

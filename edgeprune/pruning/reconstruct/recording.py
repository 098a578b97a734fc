"""Records the inputs of a layer, wherever in a model it is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgeprune.keras_model.calls import Tensor
from edgeprune.keras_model.layers import Layer


class RecordedInputs:
    """The first argument of every call of a layer; `on_call` is called at each, if set."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.on_call: Any = None


@contextmanager
def recorded(layer: Layer) -> Iterator[RecordedInputs]:
    """Records the first argument of every call of a layer within the context."""
    seen = RecordedInputs()
    call = layer.call

    def recording(*args: Any, **kwargs: Any) -> Any:
        seen.inputs.append(args[0] if args else next(iter(kwargs.values())))
        if seen.on_call:
            seen.on_call()
        return call(*args, **kwargs)

    layer.call = recording
    try:
        yield seen
    finally:
        del layer.call

"""Notes what enters a layer, wherever in a model its calls stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgeprune.keras_model.calls import Tensor
from edgeprune.keras_model.layers import Layer


class Seen:
    """What a layer was called with."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.on_call: Any = None


@contextmanager
def recorded(layer: Layer) -> Iterator[Seen]:
    """Notes the first argument of every call of a layer, until left."""
    seen = Seen()
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

"""What a channel costs on a device, so that none goes where it is padded back."""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import Field, model_validator

from edgeprune.core.schema import Count, Table, Text


class PaddedOutputs(Table):
    """A multiple that output channels are padded to, up to a number of them."""

    up_to: Count | None = None
    """The most output channels that this entry holds for; left out, for all the rest."""
    multiple: Count
    """Output channels are padded to a multiple of this."""


class MeasuredOutputs(Table):
    """What a layer with a number of output channels was measured to cost, in any one unit."""

    outputs: Count
    """Output channels of the layer."""
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """What it was measured to cost."""


def _pad(count: int, rows: tuple[PaddedOutputs, ...]) -> int:
    for row in rows:
        if row.up_to is None or count <= row.up_to:
            return -(-count // row.multiple) * row.multiple
    return count


class ChannelCost(Table):
    """What a channel costs on the device, so that none goes where it is padded back."""

    compute_inputs: Count = 1
    """Multiple that input channels are padded to where they are multiplied."""
    compute_outputs: tuple[PaddedOutputs, ...] = ()
    """Multiples that output channels are padded to where they are multiplied."""
    stored_inputs: Count = 1
    """Multiple that input channels are padded to where weights are stored."""
    stored_outputs: tuple[PaddedOutputs, ...] = ()
    """Multiples that output channels are padded to where weights are stored."""
    measured: tuple[MeasuredOutputs, ...] = ()
    """In place of compute_outputs: a table measured on the device, rising in outputs."""
    macs_per_byte: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Multiplications that the device does in the time in which it moves one byte."""
    source: Text
    """Where these figures come from."""

    def computed_outputs(self, count: int) -> float:
        """How many output channels are computed, in effect, where there are `count`."""
        if not self.measured:
            return _pad(count, self.compute_outputs)
        table = [(0, 0.0), *((row.outputs, row.cost) for row in self.measured)]
        per_output = table[-1][1] / table[-1][0]
        for (before, low), (after, high) in itertools.pairwise(table):
            if count <= after:
                between = low + (high - low) * (count - before) / (after - before)
                return between / per_output
        return count

    def stored_outputs_of(self, count: int) -> int:
        """How many output channels are stored where there are `count`."""
        return _pad(count, self.stored_outputs)

    @model_validator(mode="after")
    def _check(self) -> ChannelCost:
        outputs = [row.outputs for row in self.measured]
        if outputs != sorted(set(outputs)):
            raise ValueError(f"measured: outputs must rise. Received: {outputs}")
        return self


NO_CHANNEL_COST = ChannelCost(macs_per_byte=0, source="every channel costs what it multiplies")

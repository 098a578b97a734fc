"""What candidates are expected to cost by a device's table, before anything of them is made.

The dense model is converted once, as float32; what it costs in another number format follows from
its operators. A candidate that asks for a fraction of that cost is planned within it, and hardly
below it. What other candidates save is guessed: only their order counts, since what the instrument
says of some of them corrects the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeprune.core.errors import EdgepruneError
from edgeprune.core.pattern import NofM
from edgeprune.keras_model.layer_info import describe_layers
from edgeprune.keras_model.layers import LayerMap, map_layers
from edgeprune.planning.changes import Changes, change_functions
from edgeprune.planning.converted import Converted
from edgeprune.planning.network_cost import dense_cost
from edgeprune.planning.route_cost import ITEM_BYTES, RouteCosts, costs_in
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.searching.candidate import Candidate
from edgeprune.searching.routing import is_dense, profile_of
from edgeprune.searching.subject import Subject

BYTES = "bytes"
"""The unit of a front where nothing tells what an inference costs."""


@dataclass(frozen=True)
class ExpectedCosts:
    """The expected costs of candidates; a conversion of the model is kept for those that follow."""

    subject: Subject
    _mapped: list[LayerMap] = field(default_factory=list)
    _files: dict[str, Converted | None] = field(default_factory=dict)
    _gains: dict[tuple[str, str, str], bool] = field(default_factory=dict)

    def of(self, candidate: Candidate, unit: str) -> float | None:
        """The cost of a candidate: instructions by the table, where the device has one.

        Without a table these are multiplications; where files are compared by their size, bytes
        of weights. None where nothing tells.

        Args:
          candidate: the candidate.
          unit: of its front.

        Raises:
          ModelError: the model cannot be converted.
        """
        offered = self.subject.profile(candidate.device)
        profile = profile_of(offered, candidate)
        changes = change_functions(self._model(), offered, candidate.padding, candidate.activation)
        costs = costs_in(profile)
        if unit == BYTES:
            return _weight_bytes(changes.mapped, profile) * _kept(profile, candidate)
        if costs is None:
            return _multiplications(changes.mapped) * _kept(profile, candidate)
        file = self._file(changes, offered)
        dense = None if file is None else dense_cost(file.draft.graph, costs, profile.numerics)
        if file is None or dense is None:
            return None
        gains = self._gain(candidate, offered, changes, file)
        return dense * (candidate.cost or 1.0) if gains else dense

    def _model(self) -> LayerMap:
        if not self._mapped:
            self._mapped.append(map_layers(self.subject.model))
        return self._mapped[0]

    def _file(self, changes: Changes, profile: DeviceProfile) -> Converted | None:
        """The changed model as a float32 file; None if that cannot be had of a changed one.

        Raises:
          ModelError: the model itself cannot be converted, so that there is nothing to search.
        """
        key = repr((changes.padding, changes.activation))
        if key not in self._files:
            file = Converted(changes.model, profile, self.subject.given.lifted)
            self._files[key] = file
            try:
                _ = file.draft  # what cannot be converted is told of here, once
            except EdgepruneError:
                if not changes.padding and not changes.activation:
                    raise
                self._files[key] = None
        return self._files[key]

    def _gain(
        self, candidate: Candidate, offered: DeviceProfile, changes: Changes, file: Converted
    ) -> bool:
        """Whether zeros make a network cheaper at all: sparse kernels ask for all of a graph."""
        profile = profile_of(offered, candidate)
        if is_dense(offered, candidate) or not profile.encoding.sparse_networks:
            return True
        key = (offered.name, candidate.route, repr((changes.padding, changes.activation)))
        if key not in self._gains:
            mapped = changes.mapped
            costs = RouteCosts(mapped, file, describe_layers(mapped), offered)
            found = costs.of(profile.route)
            self._gains[key] = found is not None and found.pruned < found.dense
        return self._gains[key]


def _kept(profile: DeviceProfile, candidate: Candidate) -> float:
    """The fraction of its work that a candidate is taken to keep."""
    if candidate.cost is not None:
        return candidate.cost
    fixed = profile.route.fixed
    if isinstance(fixed, NofM):
        return fixed.n / fixed.m
    return 1 - (candidate.sparsity or 0.0)


def _multiplications(mapped: LayerMap) -> float:
    rows = describe_layers(mapped)
    return float(sum((row.pixels or 1) * math.prod(row.shape) for row in rows if row.shape))


def _weight_bytes(mapped: LayerMap, profile: DeviceProfile) -> float:
    rows: Sequence[int] = [row.parameters for row in describe_layers(mapped)]
    return float(sum(rows) * ITEM_BYTES[profile.numerics])

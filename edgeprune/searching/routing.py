"""The profile that a candidate's file is made for."""

from __future__ import annotations

from edgeprune.profiles.dense import dense_on
from edgeprune.profiles.profile import DeviceProfile
from edgeprune.searching.candidate import Candidate


def is_dense(profile: DeviceProfile, candidate: Candidate) -> bool:
    """Whether a candidate prunes nothing: its route does not, or it has a sparsity of 0.

    Args:
      profile: the device with all its routes.
      candidate: the candidate.
    """
    return profile.on(candidate.route).route.dense or candidate.sparsity == 0


def profile_of(profile: DeviceProfile, candidate: Candidate) -> DeviceProfile:
    """A profile on the route of a candidate; a dense one has the number format of its route.

    Args:
      profile: the device with all its routes.
      candidate: the candidate.

    Raises:
      ProfileError: no such route, or its needs are not met.
    """
    on = profile.on(candidate.route)
    if on.route.dense or candidate.sparsity != 0:
        return on
    return dense_on(profile, on.numerics)

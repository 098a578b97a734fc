"""TensorBoard's package, which logs are written by; TensorFlow brings it before 2.21 only."""

from __future__ import annotations

from importlib.util import find_spec

from edgeprune.core.errors import InputError


def require_tensorboard() -> None:
    """Checks that logs can be written.

    Raises:
      InputError: the package is not installed.
    """
    if find_spec("tensorboard") is None:
        raise InputError(
            "Logs of training: expected the package tensorboard, which TensorFlow from 2.21 on "
            "does not bring along. Received: none. Install it: pip install tensorboard"
        )

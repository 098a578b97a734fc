"""Layers, losses and metrics of a user's own, from a file with Python code."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import keras

from edgeprune.core.errors import ModelError
from edgeprune.core.sources.function import load_code


def register_code(path: Path) -> None:
    """Runs a file, so that Keras finds what it defines when it loads a model.

    What is registered there (`keras.saving.register_keras_serializable`) is found by that, every
    other class and function by its name.

    Raises:
      ModelError: there is no such file, or its code raised something.
    """
    if path.suffix != ".py":
        raise ModelError(
            f"{path}: expected a .py file with the code of custom layers, losses and metrics. "
            f"Received: '{path.suffix or path.name}'."
        )
    module = load_code(str(path), ModelError)
    known = keras.saving.get_custom_objects()
    known.update(
        {name: part for name, part in vars(module).items() if _is_defined_in(module, name, part)}
    )


def _is_defined_in(module: ModuleType, name: str, part: Any) -> bool:
    own = getattr(part, "__module__", None) == module.__name__
    return own and not name.startswith("_") and (inspect.isclass(part) or inspect.isfunction(part))

"""What a verb is given as a model: a Keras model, or the path of one, a .tflite or a SavedModel.

The one place that decides what a MODEL is. A .tflite file is computed with as the Keras model that
is lifted from it; what is pruned of that is written back into the file. A SavedModel folder is the
.tflite file that TensorFlow's converter makes of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgeprune.conversion.lift.lifted import Lifted
from edgeprune.conversion.lift.prove import prove
from edgeprune.conversion.lift.walk import lift
from edgeprune.conversion.lift.write_back.write import WrittenBack, write_back
from edgeprune.conversion.manifest import sha256_of
from edgeprune.conversion.saved_model import converted_folder
from edgeprune.conversion.trained_ranges import keep_ranges
from edgeprune.core.arrays import Array
from edgeprune.core.errors import ModelError, TfliteError, errors_name
from edgeprune.core.files import (
    is_saved_model,
    is_tflite,
    require_file,
    require_tflite_name,
)
from edgeprune.keras_model.files import as_model, name_of, save_model
from edgeprune.keras_model.layers import Model
from edgeprune.tflite.format.graph import Graph

_MOST_NAMED = 3
"""Subgraphs that a sentence lists."""


@dataclass(frozen=True, eq=False)
class Given:
    """A model as a verb was given it.

    `model` is the Keras model that is planned for and pruned; `lifted` is the file that it was
    lifted from, None for a model that is Keras' own.
    """

    name: str
    model: Model
    lifted: Lifted | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of the file that was lifted, else of the model, see `hash_model`."""
        return sha256_of(self.model, None if self.lifted is None else self.lifted.given)

    def prove_on(self, x: Sequence[Array]) -> None:
        """Compares what was lifted with the file on samples too; a model of Keras' own is itself.

        Args:
          x: `[n, ...]` for each input of the model.

        Raises:
          Unliftable: Keras computes something else; names the first operator that does.
          DataError: it does not compute with these samples, such as ids beyond a table.
        """
        if self.lifted is not None:
            with errors_name(self.lifted.given, self.lifted.path):
                prove(self.lifted, x)

    def require_open_batch(self) -> None:
        """Checks that the model takes any number of samples at once, as all work on samples does.

        Raises:
          TfliteError: the first axis of an input has a fixed length in the file.
        """
        fixed = [tensor.shape for tensor in self.model.inputs] if self.lifted is not None else []
        found = next((list(shape) for shape in fixed if shape[:1] != (None,)), None)
        if found is not None:
            why, remedy = "whose first axis has this length only", "with a batch of 1"
            if found[:1] == [1]:
                why = "whose first axis an operator mixes with others, or drops"
                remedy = "so that every operator keeps that axis"
            raise TfliteError(
                f"{self.name}: expected a file that takes one sample at a time, [1, ...], and "
                f"computes each by itself, to use samples with it. Received: an input {found}, "
                f"{why}. Convert the model again {remedy}, or prune it without --data (`data`)."
            )

    @property
    def untouched(self) -> str:
        """Sentences on what pruning leaves alone in a file: other subgraphs, a remainder; or ""."""
        if self.lifted is None:
            return ""
        others, remainder = other_subgraphs(self.lifted.graph), self.lifted.remainder
        said = []
        if others:
            said.append(
                f"{self.name} is pruned in its main subgraph alone; untouched beside it: {others}."
            )
        if remainder is not None:
            said.append(
                f"{self.name} is pruned, run and measured in front of what no runtime here has; "
                f"that stays as it is: {remainder.names}."
            )
        return " ".join(said)

    def pruned(self, model: Model, x: Sequence[Array] | None = None) -> Model | PrunedFile:
        """What pruning gives: the smaller or sparser model, or the file that it is written into.

        Args:
          model: the pruned model.
          x: calibration samples `[n, ...]` for each input, by which a quantized file is mended.
        """
        return model if self.lifted is None else PrunedFile(self.lifted, model, x)


@dataclass(frozen=True, eq=False)
class PrunedFile:
    """A .tflite file with the weights of a pruned model, before it is written.

    `model` is its Keras twin, which computes what the file will compute.
    """

    lifted: Lifted
    model: Model
    x: Sequence[Array] | None = None
    """Calibration samples, by which a quantized file is mended."""

    def save(self, path: str | Path) -> WrittenBack:
        """Writes the given file with the new weights: dense, not rewritten.

        The ranges of quantisation-aware training lie beside it, where `export` finds them.

        Returns:
          The artifact; its `new_scales` says how many weights of a quantized file left the grid
          that they had, its `mended` what samples made better.

        Raises:
          EdgepruneError: as `write_back`.
        """
        require_tflite_name(Path(path))
        written = write_back(self.lifted, self.model, Path(path), self.x)
        keep_ranges(self.model, Path(path))
        return written


def as_given(
    model: Given | Model | str | Path, signature: str | None = None, *, name: str = ""
) -> Given:
    """A model as a verb takes it.

    A .tflite file is lifted, and what was lifted is run beside the file. A SavedModel is converted
    to one first.

    Args:
      model: a Keras model, or the path of a .keras, .h5 or .tflite file or a SavedModel folder.
      signature: which signature of a SavedModel; of a folder with one only it may be left out.
      name: what a file is called that a SavedModel was converted to; its own path if "".

    Raises:
      ModelError: no Keras model, as `as_model`; not a SavedModel, as `converted_folder`; or a
        signature is named, and there is none to choose.
      TfliteError: not a sound .tflite file, or Keras computes something else.
      Unliftable: it has operators without a counterpart in Keras.
    """
    if isinstance(model, Given):
        return model
    file = _file_to_lift(model, signature)
    if file is not None:
        with errors_name(model, file):
            lifted = lift(file)
            with errors_name(file, lifted.path):
                prove(lifted)
        return Given(name or str(model), lifted.model, lifted)
    loaded = as_model(model)
    return Given(name_of(model), loaded)


def other_subgraphs(graph: Graph) -> str:
    """The names of a file's subgraphs beside the main one, in quotes; "" where there are none."""
    names = [repr(subgraph.name) for subgraph in graph.subgraphs[1:]]
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join(names[:_MOST_NAMED] + more)


def file_of(model: Given | Model | str | Path) -> Path | None:
    """The .tflite file that a model was given as, or was converted to; None for a Keras model."""
    if isinstance(model, Given):
        return None if model.lifted is None else model.lifted.given
    return _file_to_lift(model)


def is_lifted(model: Given | Model | str | Path) -> bool:
    """Whether a model is given as a .tflite file or a SavedModel; pruning makes a .tflite of it."""
    if isinstance(model, Given):
        return model.lifted is not None
    return is_tflite(model) or is_saved_model(model)


def _file_to_lift(model: Model | str | Path, signature: str | None = None) -> Path | None:
    """The .tflite file of a path, there or converted; None where Keras loads the model.

    Raises:
      ModelError, TfliteError: as `as_given`, of what is no such file or folder.
    """
    if is_saved_model(model):
        return converted_folder(Path(model), signature).path
    if signature is not None:
        raise ModelError(
            f"{name_of(model)}: expected a SavedModel folder, whose signatures --signature "
            f"(`signature`) chooses from. Received: another model, and signature '{signature}'. "
            "Leave it out."
        )
    if not is_tflite(model):
        return None
    require_file(Path(model))
    return Path(model)


def save_pruned(pruned: Model | PrunedFile, output: Path) -> WrittenBack | None:
    """Writes what pruning gave: a .keras file, or the given file with new weights; and its ranges.

    Returns:
      As `PrunedFile.save`; None of a .keras file.

    Raises:
      EdgepruneError: as `save_model` and `PrunedFile.save`.
    """
    if isinstance(pruned, PrunedFile):
        return pruned.save(output)
    save_model(pruned, output)
    keep_ranges(pruned, output)
    return None


def keras_model_of(pruned: Model | PrunedFile) -> Model:
    """The Keras model that pruning gave, or the twin of a file."""
    return pruned.model if isinstance(pruned, PrunedFile) else pruned


@contextmanager
def exportable(
    given: Given | Model | PrunedFile | str | Path, signature: str | None = None
) -> Iterator[Given | Model | Path]:
    """What `export` converts: a model as it is, or the path of its file.

    What was pruned of a file lies there for a while, and errors name the file that was pruned. A
    SavedModel is converted, once, and lifted only where another format is asked for.

    Raises:
      EdgepruneError: as `PrunedFile.save` and `as_given`.
    """
    if not isinstance(given, PrunedFile):
        yield given if isinstance(given, Given) else _file_to_lift(given, signature) or given
        return
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        path = given.save(Path(folder, given.lifted.given.name)).path
        with errors_name(given.lifted.given, path):
            yield path

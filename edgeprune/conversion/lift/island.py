"""Layers for what is not lifted: operators that the interpreter runs, and those it need not run."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.layers import PACKAGE, Size, Tensor
from edgeprune.core.arrays import Array
from edgeprune.core.errors import TfliteError
from edgeprune.targets.child import WorkerError
from edgeprune.targets.serving import file_server


class IslandError(TfliteError):
    """The interpreter does not run an island."""

    # Keras adds the tensors of a call to the message of any error without this mark.
    _keras_call_info_injected = True


def _not_run(source: str, error: WorkerError) -> IslandError:
    return IslandError(
        f"{source}: expected operators that the interpreter runs on what reaches them. Received: "
        f"{str(error).rstrip('.')}. See that samples are scaled as the model wants them; else give "
        "the model without these operators, or as a .keras file."
    )


@contextmanager
def island_errors() -> Iterator[None]:
    """Says why an island did not run, where TensorFlow ran it: it has an error of its own then.

    Raises:
      IslandError: the interpreter did not run an island.
    """
    from tensorflow.errors import OpError

    try:
        yield
    except OpError as error:
        failure = file_server().failure
        if failure is None:
            raise
        raise failure from error


@keras.saving.register_keras_serializable(PACKAGE)
class Island(keras.layers.Layer):
    """Runs operators of a .tflite file in the interpreter, on whatever reaches them.

    Gradients end here: none leads from its outputs to its inputs. A batch is run sample by sample,
    and no sample sees a state that another one left.

    Args:
      content: the operators as a .tflite file, or that in base64.
      inputs: the shape of each of its inputs, in its order.
      outputs: the shape of each output.
      dtypes: the type of each output in Keras.
      whole: whether shapes are those in Keras too; else the first axis is there once per sample.
      fresh: whether the operators keep a state.
      source: where they come from, as errors say it.

    An island without inputs gives the same for every sample, and is called with any tensor.
    """

    def __init__(
        self,
        content: bytes | str,
        inputs: Sequence[Sequence[int]],
        outputs: Sequence[Sequence[int]],
        dtypes: Sequence[str],
        *,
        whole: bool = False,
        fresh: bool = False,
        source: str = "an island of the file",
        **more: Any,
    ) -> None:
        super().__init__(autocast=False, **more)
        self.content = base64.b64decode(content) if isinstance(content, str) else content
        self.input_shapes = tuple(tuple(shape) for shape in inputs)
        self.output_shapes = tuple(tuple(shape) for shape in outputs)
        self.dtypes = tuple(dtypes)
        self.whole = whole
        self.fresh = fresh
        self.source = source
        # XLA cannot call the interpreter.
        self.supports_jit = False

    @property
    def leads_on(self) -> bool:
        """Whether something reaches it, which it goes on from."""
        return bool(self.input_shapes)

    def call(self, x: Any) -> Any:
        """Runs the operators; `x` is a tensor, or a list of several."""
        import tensorflow as tf

        given = list(x) if isinstance(x, list | tuple) else [x]
        made = tf.numpy_function(self._noted, given, list(self.dtypes), stateful=False)
        # TensorFlow takes a list of one apart, but not in a graph.
        values = made if isinstance(made, list | tuple) else [made]
        for tensor, spec in zip(values, self._specs(), strict=True):
            tensor.set_shape(spec.shape)
        ended = [tf.stop_gradient(tensor) for tensor in values]
        return ended if len(ended) > 1 else ended[0]

    def _noted(self, *arrays: Array) -> list[Array]:
        """What the operators make; `island_errors` finds why they make nothing."""
        try:
            return self._run(*arrays)
        except IslandError as error:
            file_server().failure = error
            raise

    def _run(self, *arrays: Array) -> list[Array]:
        samples = 1 if self.whole else self._samples(arrays[0])
        given = arrays[: len(self.input_shapes)]
        rows = [
            array.reshape(samples, *shape)
            for array, shape in zip(given, self.input_shapes, strict=True)
        ]
        made = self._served(rows, samples) if rows else self._alone(samples)
        return [self._in_keras(*each) for each in zip(made, range(len(made)), strict=True)]

    def _samples(self, first: Array) -> int:
        """How many samples a batch has."""
        return len(first) // (self.input_shapes[0][0] if self.input_shapes else 1)

    def _alone(self, samples: int) -> list[Array]:
        return [np.repeat(array, samples, axis=0) for array in self._constant]

    @cached_property
    def _constant(self) -> Sequence[Array]:
        """What an island without inputs gives for one sample."""
        return self._served([], 1)

    def _served(self, rows: Sequence[Array], samples: int) -> Sequence[Array]:
        try:
            return file_server().run(self.content, rows, samples, fresh=self.fresh)
        except WorkerError as error:
            raise _not_run(self.source, error) from error

    def _in_keras(self, made: Array, number: int) -> Array:
        """An output `[samples, ...]` as Keras has it.

        Raises:
          IslandError: it has other sizes than the file says.
        """
        shape = self.output_shapes[number]
        if made.shape[1:] != shape:
            raise IslandError(
                f"{self.source}: expected an output {list(shape)}, as the file says. Received: "
                f"{list(made.shape[1:])}. Convert the model with fixed sizes."
            )
        joined = made.reshape(shape if self.whole else (-1, *shape[1:]))
        return joined.astype(self.dtypes[number], copy=False)

    def _specs(self) -> list[Any]:
        shapes: list[tuple[Size, ...]] = [
            shape if self.whole else (None, *shape[1:]) for shape in self.output_shapes
        ]
        return [keras.KerasTensor(*each) for each in zip(shapes, self.dtypes, strict=True)]

    def compute_output_spec(self, x: Any) -> Any:  # noqa: ARG002  the file says what comes out
        """Shapes and types."""
        specs = self._specs()
        return specs if len(specs) > 1 else specs[0]

    def get_config(self) -> dict[str, Any]:
        """What the layer is made from."""
        own = {
            "content": base64.b64encode(self.content).decode("ascii"),
            "inputs": [list(shape) for shape in self.input_shapes],
            "outputs": [list(shape) for shape in self.output_shapes],
            "dtypes": list(self.dtypes),
            "whole": self.whole,
            "fresh": self.fresh,
            "source": self.source,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class KeptAside(keras.layers.Layer):
    """Gives `x` as it is: operators that no output of the file depends on read it too.

    They are not run, such as those that store a state for the next sample; the channels that they
    read stay, so that they can go on doing so in the file.
    """

    def call(self, x: Tensor) -> Tensor:
        """The same tensor."""
        return x

    def compute_output_shape(self, shape: Sequence[Size]) -> tuple[Size, ...]:
        """The same shape."""
        return tuple(shape)

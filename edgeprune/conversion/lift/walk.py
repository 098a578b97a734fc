"""Goes through the operators of a file and builds the Keras model."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from edgeprune.conversion.lift.cut import subgraphs_called
from edgeprune.conversion.lift.layers import HeldConstant
from edgeprune.conversion.lift.lifted import Lifted, Obstacle, Unliftable
from edgeprune.conversion.lift.operators.folding import FOLDS, MOST_VALUES, fold
from edgeprune.conversion.lift.operators.table import LIFTS
from edgeprune.conversion.lift.outside import Outside, read_aside
from edgeprune.conversion.lift.past import with_past
from edgeprune.conversion.lift.runnable import runnable_part
from edgeprune.conversion.lift.saturation import saturated
from edgeprune.conversion.lift.site import (
    BatchNeededError,
    BlockedError,
    Building,
    Live,
    Shape,
    Site,
    quantized,
    type_of,
)
from edgeprune.core.errors import errors_name
from edgeprune.keras_model.layers import Model
from edgeprune.tflite.compiled import require_uncompiled
from edgeprune.tflite.format import file as tflite_file
from edgeprune.tflite.format.graph import Graph, Operator, Tensor
from edgeprune.tflite.format.signature import Port, input_ports, output_ports
from edgeprune.tflite.streams import find_streams

_OPAQUE = ("string", "resource", "variant")
_QUANTIZED = ("int8", "uint8", "int16")
"""Types whose numbers stand for real values in Keras."""
_NO_SAMPLES = "it has no axis for samples"
_LONGEST_REASON = 200
_NAME = "lifted"
"""Every model's: tensors of files that are converted from it are named after it, and by their names
the ranges of quantisation-aware training are found again, however the file is called."""
_REFUSALS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What Keras raises where shapes and options of a damaged file do not fit together."""


def lift(path: Path) -> Lifted:
    """Rebuilds a .tflite file as a Keras model that computes the same.

    The batch axis is left open, unless an operator works along it. Of a file that ends in operators
    that no runtime has, what comes before them is lifted.

    Raises:
      TfliteError: the file is not sound, or a device's compiler made it.
      Unliftable: operators in it have no counterpart in Keras; names each, and why.
    """
    graph = tflite_file.read(path)
    require_uncompiled(graph)
    runnable, remainder = runnable_part(graph)
    with errors_name(path, runnable.path):
        found = _lifted(runnable)
    if remainder is not None and not found.weights:
        raise Unliftable(path, remainder.obstacles)
    return replace(found, remainder=remainder)


def _lifted(graph: Graph) -> Lifted:
    try:
        return _Walk(graph, whole=not _open_batch(graph)).lifted()
    except BatchNeededError:
        whole = _Walk(graph, whole=True).lifted()
    return _with_open_batch(whole) if whole.islands else whole


def _with_open_batch(whole: Lifted) -> Lifted:
    """A file of one sample with what has no axis for samples in its islands, such as a condition.

    Itself where a batch cannot be open so, or less is lifted.
    """
    try:
        found = _Walk(whole.graph, whole=False, apart=True).lifted()
    except (BatchNeededError, Unliftable):
        return whole
    return found if found.weights.keys() >= whole.weights.keys() else whole


def _open_batch(graph: Graph) -> bool:
    """Whether all inputs and outputs have one sample along their first axis."""
    return all(graph.tensors[index].shape[:1] == (1,) for index in graph.inputs)


class _Walk:
    """One pass over the operators; `obstacles` are collected, so that all are named.

    Args:
      graph: the file.
      whole: whether the batch is that of the file.
      apart: whether operators that the batch cannot be open for stay outside.
    """

    def __init__(self, graph: Graph, *, whole: bool, apart: bool = False) -> None:
        self.graph, self.apart = graph, apart
        self.streams = find_streams(graph)
        kept = read_aside(graph.subgraphs[0], self.streams.aside)
        self.building = Building(graph, whole=whole, read_aside=kept)
        self.outside = Outside(graph, self.building, partial(_unusable, apart=apart))
        self.obstacles: list[Obstacle] = []
        """What is wrong with inputs and outputs."""
        self.lost: set[int] = set()
        """Tensors that are not known, since an input is not."""

    def lifted(self) -> Lifted:
        """Builds the model.

        Raises:
          Unliftable: as `lift`.
          BatchNeededError: the batch cannot be open.
        """
        inputs = [self._input(port) for port in input_ports(self.graph)]
        aside = self.outside.aside | self.streams.aside
        for operator in self.graph.operators:
            if operator.index not in aside:
                self._step(operator)
        if not self.graph.outputs or not self.graph.inputs:
            self.obstacles.append(Obstacle(-1, "the file", "it has no input or no output"))
        outputs = [] if self.obstacles else list(self._outputs())
        if self.obstacles:
            raise Unliftable(self.graph.path, [*self.outside.obstacles(), *self.obstacles])
        model = _model(inputs, outputs)
        # Labels of several outputs are given by the names of the file's signature.
        model.output_names = [port.name for port in output_ports(self.graph)]
        for layer, values in self.building.values:
            layer.set_weights(values)
        return self._result(model)

    def _result(self, model: Model) -> Lifted:
        """What is said of the parts of the model that an output depends on.

        Raises:
          Unliftable: all layers with weights are in islands, or the interpreter runs one no more
            than Keras does.
        """
        done, parts = self.building, {operation.name for operation in model.operations}
        weights = {name: each for name, each in done.weights.items() if name in parts}
        islands = tuple(each for each in self.outside.islands if each.layer in parts)
        if islands and not weights:
            raise Unliftable(self.graph.path, self.outside.obstacles())
        refused = self.outside.refused()
        if refused:
            raise Unliftable(self.graph.path, refused)
        constants = {name: each for name, each in done.constants.items() if name in parts}
        tensors = {index: each for index, each in done.tensors.items() if each[0] in parts}
        return Lifted(
            path=self.graph.path,
            graph=self.graph,
            model=model,
            operators=MappingProxyType(_within(parts, done.operators)),
            tensors=MappingProxyType(tensors),
            weights=MappingProxyType(weights),
            constants=MappingProxyType(constants),
            islands=islands,
        )

    def _input(self, port: Port) -> Any:
        tensor = self.graph.tensors[port.tensor]
        reason = _unusable(tensor)
        if any(size < 0 for size in tensor.shape_signature[1:]):
            reason = f"its sizes {list(tensor.shape_signature)} are set at run time"
        elif not 0 < math.prod(tensor.shape) <= MOST_VALUES:
            reason = f"it takes {math.prod(tensor.shape)} values"
        if reason:
            self._refuse(Obstacle(-1, f"input {tensor.name!r}", reason), (port.tensor,))
            return None
        name = self.building.unique_name(port.name)
        dtype = type_of(tensor)
        whole = self.building.whole
        shape = tensor.shape if whole else (None, *tensor.shape[1:])
        made = keras.Input(batch_shape=shape, dtype=dtype, name=name)
        self.building.live[port.tensor] = Live(made, tensor.shape)
        self.building.tensors[port.tensor] = (name, 0)
        return made

    def _refuse(self, obstacle: Obstacle, outputs: tuple[int, ...]) -> None:
        self.obstacles.append(obstacle)
        self.lost.update(outputs)

    def _step(self, operator: Operator) -> None:
        try:
            if not self._waits(operator) and not self._folded(operator):
                self._add(operator)
        except BlockedError as error:
            self.outside.add(operator, str(error))
        except BatchNeededError:
            if not self.apart:
                raise
            self.outside.add(operator, _NO_SAMPLES)

    def _waits(self, operator: Operator) -> bool:
        """Whether an operator reads what Keras cannot hold, and joins those that made it.

        Of all else that it reads from operators outside, islands are made.
        """
        if operator.custom or operator.op not in (*LIFTS, *FOLDS, "SHAPE"):
            return False
        read = [index for index in operator.inputs if self.outside.holds(index)]
        if any(self.outside.why_not(index) for index in read):
            self.outside.add(operator, "")
            return True
        for index in read:
            if self.outside.holds(index):
                self.outside.expose(index)
        return False

    def _folded(self, operator: Operator) -> bool:
        """Computes an operator that depends on constants alone; whether it was one."""
        known = self.building.known
        if operator.op == "SHAPE" and not operator.custom:
            live = self.building.live.get(operator.inputs[0])
            if live is None:
                return False
            known[operator.outputs[0]] = np.array(live.shape, np.int32)
            return True
        if operator.op not in FOLDS or not operator.inputs:
            return False
        given = [self.building.constant(index) for index in operator.inputs]
        pairs = zip(operator.inputs, given, strict=True)
        if any(values is None and index >= 0 for index, values in pairs):
            return False
        made = fold(self.graph.subgraphs[0], operator, given)
        if made is None:
            return False
        known.update(zip(operator.outputs, made, strict=False))
        return True

    def _add(self, operator: Operator) -> None:
        """Adds the layers of an operator.

        Raises:
          BlockedError: it cannot be lifted.
        """
        entry = None if operator.custom else LIFTS.get(operator.op)
        foldable = not operator.custom and operator.op in ("SHAPE", *FOLDS)
        lost = bool(self.lost.intersection(operator.inputs))
        if entry is None and not (foldable and lost):
            raise BlockedError(_why_blocked(operator))
        if entry is None or lost:
            self.lost.update(operator.outputs)
            return
        for index in operator.outputs:
            reason = (
                "it leaves an output out" if index < 0 else _unusable(self.graph.tensors[index])
            )
            if reason:
                raise BlockedError(reason)
        name = self.building.unique_name(self.graph.tensors[operator.outputs[0]].name)
        site = Site(operator, self.building, name)
        try:
            window = self.streams.windows.get(operator.index)
            made = entry(site) if window is None else with_past(site, self.graph, window)
        except _REFUSALS as error:
            said = " ".join(str(error).split())[:_LONGEST_REASON]
            raise BlockedError(f"Keras refuses it ({said})") from error
        values = list(made) if isinstance(made, list | tuple) else [made]
        if len(values) != len(operator.outputs):
            raise BlockedError(f"it has {len(operator.outputs)} outputs instead of {len(values)}")
        for number, value in enumerate(values):
            self._note(site, number, value)

    def _note(self, site: Site, number: int, value: Any) -> None:
        """Keeps an output, whose shape has to be the one in the file."""
        index = site.operator.outputs[number]
        tensor = self.graph.tensors[index]
        live = value if isinstance(value, Live) else Live(value, _shape_of(value, site, tensor))
        if not 0 < math.prod(live.shape) <= MOST_VALUES:
            raise BlockedError(f"it gives {list(live.shape)}")
        if not _agree(live.shape, tensor):
            raise BlockedError(f"it gives {list(live.shape)}, the file has {list(tensor.shape)}")
        if live.imaginary is None:
            live = Live(saturated(site, number, live.tensor), live.shape)
        self.building.note(index, live)

    def _outputs(self) -> Iterator[Any]:
        for port in output_ports(self.graph):
            if self.outside.holds(port.tensor) and not self._exposed(port):
                continue
            live = self.building.live.get(port.tensor)
            if live is None:
                yield self._constant_output(port)
                continue
            if not self.building.whole and live.shape[:1] != (1,):
                raise BatchNeededError
            yield live.tensor

    def _exposed(self, port: Port) -> bool:
        """Whether an output that operators outside make can be handed to Keras."""
        reason = self.outside.why_not(port.tensor)
        if reason:
            self.obstacles.append(Obstacle(-1, f"output {port.name!r}", reason))
        else:
            self.outside.expose(port.tensor)
        return not reason

    def _constant_output(self, port: Port) -> Any:
        """An output that no input reaches."""
        try:
            values = self.building.constant(port.tensor)
        except BlockedError as error:
            self.obstacles.append(Obstacle(-1, f"output {port.name!r}", str(error)))
            return None
        anchor = next(iter(self.building.live.values()), None)
        if values is None or anchor is None:
            self.obstacles.append(Obstacle(-1, f"output {port.name!r}", "nothing computes it"))
            return None
        if not self.building.whole:
            raise BatchNeededError
        name = self.building.unique_name(port.name)
        layer = HeldConstant(values.shape, whole=True, dtype=values.dtype.name, name=name)
        made = layer(anchor.tensor)
        self.building.values.append((layer, [values]))
        self.building.tensors[port.tensor] = (name, 0)
        return made


def _why_blocked(operator: Operator) -> str:
    """Why an operator without an entry cannot be lifted."""
    if operator.custom:
        return "a custom operator"
    if subgraphs_called(operator.options):
        return "it calls other subgraphs, and only the main one is lifted and pruned"
    return "there is no counterpart for it"


def _unusable(tensor: Tensor, *, apart: bool = False) -> str:
    """Why Keras cannot compute a tensor; empty if it can.

    Args:
      tensor: the tensor.
      apart: whether it has to have one sample along its first axis.
    """
    if apart and tensor.shape[:1] != (1,):
        return _NO_SAMPLES
    if tensor.dtype in _OPAQUE:
        return f"{tensor.name!r} holds {tensor.dtype}"
    if not quantized(tensor):
        return ""
    if tensor.dtype not in _QUANTIZED:
        return f"{tensor.name!r} is quantized ({tensor.dtype})"
    if tensor.scales.size > 1 or not 0 < tensor.scales[0] < np.inf:
        return f"{tensor.name!r} has the scales {tensor.scales.tolist()[:3]} instead of one"
    return ""


def _agree(shape: Shape, tensor: Tensor) -> bool:
    """Whether a tensor has a shape, as far as the file says what it has."""
    said = tensor.shape_signature
    if not said:
        return True
    pairs = zip(shape, said, strict=False)
    return len(shape) == len(said) and all(size == known or known < 0 for size, known in pairs)


def _shape_of(value: Any, site: Site, tensor: Tensor) -> Shape:
    """A Keras tensor's shape as the file has it.

    Raises:
      BlockedError: Keras does not know a size.
    """
    shape = tuple(value.shape)
    if not site.whole and shape:
        is_known = tensor.shape_signature[:1] > (0,)
        first = tensor.shape[0] if is_known else site.shape(_first_live(site))[0]
        shape = (first, *shape[1:])
    if None in shape:
        raise BlockedError(f"the sizes of its output are not known: {list(shape)}")
    return shape


def _first_live(site: Site) -> int:
    return next(at for at in range(site.count) if site.is_live(at))


def _model(inputs: list[Any], outputs: list[Any]) -> Model:
    return keras.Model(
        inputs[0] if len(inputs) == 1 else inputs,
        outputs[0] if len(outputs) == 1 else outputs,
        name=_NAME,
    )


def _within(parts: Collection[str], operators: dict[str, int]) -> dict[str, int]:
    """The layers and operations that are part of the model."""
    return {name: index for name, index in operators.items() if name in parts}

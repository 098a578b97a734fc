"""Follows every channel of a model through its graph, from where it is made to where it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from edgeprune.keras_model.calls import Call, CallGraph, read_calls
from edgeprune.keras_model.layers import LayerMap
from edgeprune.pruning.channels.kinds import rule_for
from edgeprune.pruning.channels.rule import (
    CannotFollowError,
    ChannelRule,
    ChannelTensor,
    Coupling,
    Labels,
    LayerCall,
    Matrix,
    SampleShape,
    Size,
    WeightAxis,
    Window,
)

IS_INPUT = "it is an input of the model"
IS_OUTPUT = "it is an output of the model"


@dataclass(frozen=True)
class TracedWeight:
    """An axis of a layer's weight, with the labels of the channels along it."""

    path: str
    kind: str
    axis: WeightAxis


@dataclass(frozen=True)
class TracedMatrix:
    """A matrix, with the layer and the call that it belongs to."""

    path: str
    layer: Any
    matrix: Matrix
    key: tuple[str, int]
    """Key of the call, see `calls.Call.key`."""


@dataclass(frozen=True)
class Trace:
    """Where every channel of a model occurs.

    All labels are resolved: channels that must be removed together have the same label.
    """

    channels: int
    """Number of labels, which count from 0."""
    weights: tuple[TracedWeight, ...]
    matrices: tuple[TracedMatrix, ...]
    tensors: Mapping[tuple[str, int], tuple[ChannelTensor, ...]]
    """The inputs of every call of a layer or operation, by its key."""
    outputs: Mapping[tuple[str, int], tuple[ChannelTensor, ...]]
    """The outputs of every call, by its key."""
    inputs: Mapping[str, tuple[ChannelTensor, ...]]
    """The inputs of every nested model, by its path."""
    sizes: Mapping[str, Mapping[str, Size]]
    """By the path of a layer or operation, the entries of its configuration that depend on
    channels."""
    arguments: Mapping[str, Mapping[int, Size]]
    """By the path of an operation, the arguments of its call that depend on channels."""
    made_by: Mapping[str, Labels]
    """The channels that each layer makes, by its path."""
    frozen: Mapping[int, str]
    """Why channels must stay, by label."""
    graph: CallGraph
    """The calls of the traced model."""


class _Tracer:
    """Runs through a graph once and collects the couplings of rules; labels are resolved last."""

    def __init__(self, mapped: LayerMap, rules: Mapping[type, ChannelRule]) -> None:
        self._mapped = mapped
        self._graph = read_calls(mapped.model)
        self._rules = rules
        self._count = 0
        self._made: dict[str, Labels] = {}
        self._united: list[tuple[Labels, Labels]] = []
        self._frozen: list[tuple[Labels, str]] = []
        self._weights: dict[tuple[str, str, int], TracedWeight] = {}
        self._matrices: list[TracedMatrix] = []
        self._tensors: dict[tuple[str, int], tuple[ChannelTensor, ...]] = {}
        self._outputs: dict[tuple[str, int], tuple[ChannelTensor, ...]] = {}
        self._inputs: dict[str, tuple[ChannelTensor, ...]] = {}
        self._sizes: dict[str, Mapping[str, Size]] = {}
        self._arguments: dict[str, Mapping[int, Size]] = {}

    def trace(self) -> Trace:
        shapes = [tuple(tensor.shape[1:]) for tensor in self._mapped.model.inputs]
        inputs = [self._source(shape, IS_INPUT) for shape in shapes]
        known = dict(zip(self._graph.inputs, inputs, strict=True))
        for call in self._graph.calls:
            made = self._apply(call, [known[value] for value in call.inputs])
            known.update(zip(call.outputs, made, strict=True))
        for path, values in self._graph.entered:
            self._enter(path, [known[value] for value in values])
        outputs = [known[value] for value in self._graph.outputs]
        self._frozen[:0] = [(tensor.labels, IS_OUTPUT) for tensor in outputs]
        return self._resolved()

    def _enter(self, path: str, tensors: Sequence[ChannelTensor]) -> None:
        """Records the inputs of a nested model and couples those of all its calls."""
        for before, now in zip(self._inputs.setdefault(path, tuple(tensors)), tensors, strict=True):
            self._unite(before.labels, now.labels)

    def _new(self, count: int) -> Labels:
        self._count += count
        return np.arange(self._count - count, self._count)

    def _source(self, shape: SampleShape, reason: str) -> ChannelTensor:
        """A tensor with new channels along its last axis that must stay."""
        size = shape[-1] if shape and shape[-1] is not None else 1
        labels = self._new(size)
        self._frozen.append((labels, reason))
        return ChannelTensor(shape, max(len(shape) - 1, 0), labels)

    def _unite(self, first: Labels, other: Labels) -> None:
        if first.shape != other.shape:
            reason = "it is used with different numbers of channels"
            self._frozen += [(first, reason), (other, reason)]
            return
        self._united.append((first, other))

    def _apply(self, call: Call, inputs: list[ChannelTensor]) -> Sequence[ChannelTensor]:
        path = self._mapped.path_of(call.operation) or call.path
        shapes = tuple(tuple(tensor.shape[1:]) for tensor in call.node.output_tensors)
        coupling = self._coupling(call, path, tuple(inputs), shapes)
        self._note(call, path, coupling)
        self._tensors[call.key] = tuple(inputs)
        self._outputs[call.key] = coupling.outputs
        return coupling.outputs

    def _coupling(
        self,
        call: Call,
        path: str,
        inputs: tuple[ChannelTensor, ...],
        shapes: tuple[SampleShape, ...],
    ) -> Coupling:
        rule = rule_for(call.operation, self._rules)
        if isinstance(rule, str):
            return self._stuck(path, rule, inputs, shapes)
        arguments = keras.tree.flatten((call.node.arguments.args, call.node.arguments.kwargs))
        try:
            return rule(
                LayerCall(call.operation, inputs, shapes, tuple(arguments), self._maker(path))
            )
        except CannotFollowError as error:
            return self._stuck(path, str(error), inputs, shapes)

    def _stuck(
        self,
        path: str,
        reason: str,
        inputs: tuple[ChannelTensor, ...],
        shapes: tuple[SampleShape, ...],
    ) -> Coupling:
        """Freezes the channels of all inputs and outputs."""
        outputs = tuple(self._source(shape, f"{path}: {reason}") for shape in shapes)
        return Coupling(outputs, frozen=tuple((tensor.labels, reason) for tensor in inputs))

    def _maker(self, path: str) -> Any:
        def new(count: int) -> Labels:
            if path not in self._made:
                self._made[path] = self._new(count)
            return self._made[path]

        return new

    def _note(self, call: Call, path: str, coupling: Coupling) -> None:
        kind = type(call.operation).__name__
        for axis in coupling.weights:
            if getattr(call.operation, axis.weight, None) is None:
                continue
            key = (path, axis.weight, axis.axis)
            known = self._weights.setdefault(key, TracedWeight(path, kind, axis))
            self._unite(known.axis.labels, axis.labels)
        if coupling.sizes:
            self._sizes[path] = coupling.sizes
        if coupling.arguments:
            self._arguments[path] = coupling.arguments
        self._united += coupling.united
        self._frozen += [(labels, f"{path}: {reason}") for labels, reason in coupling.frozen]
        self._matrices += [
            TracedMatrix(path, call.operation, matrix, call.key) for matrix in coupling.matrices
        ]

    def _resolved(self) -> Trace:
        pairs = [
            np.concatenate([np.ravel(pair[side]) for pair in self._united] or [np.empty(0, int)])
            for side in (0, 1)
        ]
        size = (self._count, self._count)
        links = coo_array((np.ones(len(pairs[0]), bool), (pairs[0], pairs[1])), size)
        count, whole = connected_components(links, directed=False)
        frozen: dict[int, str] = {}
        for labels, reason in self._frozen:
            for label in np.unique(whole[labels]).tolist():
                frozen.setdefault(label, reason)

        def tensors(
            found: Mapping[tuple[str, int], tuple[ChannelTensor, ...]],
        ) -> dict[tuple[str, int], tuple[ChannelTensor, ...]]:
            return {key: tuple(_resolved_tensor(t, whole) for t in of) for key, of in found.items()}

        return Trace(
            channels=count,
            weights=tuple(
                replace(weight, axis=replace(weight.axis, labels=whole[weight.axis.labels]))
                for weight in self._weights.values()
            ),
            matrices=tuple(
                replace(found, matrix=_resolved_matrix(found.matrix, whole))
                for found in self._matrices
            ),
            tensors=tensors(self._tensors),
            outputs=tensors(self._outputs),
            inputs={
                path: tuple(_resolved_tensor(t, whole) for t in found)
                for path, found in self._inputs.items()
            },
            sizes={
                path: {key: _resolved_size(size, whole) for key, size in found.items()}
                for path, found in self._sizes.items()
            },
            arguments={
                path: {at: _resolved_size(size, whole) for at, size in found.items()}
                for path, found in self._arguments.items()
            },
            made_by={path: whole[labels] for path, labels in self._made.items()},
            frozen=frozen,
            graph=self._graph,
        )


def _resolved_tensor(tensor: ChannelTensor, whole: Labels) -> ChannelTensor:
    return replace(tensor, labels=whole[tensor.labels])


def _resolved_size(size: Size, whole: Labels) -> Size:
    match size:
        case np.ndarray():
            return whole[size]
        case ChannelTensor():
            return _resolved_tensor(size, whole)
        case Window():
            start, stop = (_resolved_size(end, whole) for end in (size.start, size.stop))
            return Window(start, stop, size.step)
        case tuple():
            return tuple(_resolved_size(entry, whole) for entry in size)
    return size


def _resolved_matrix(matrix: Matrix, whole: Labels) -> Matrix:
    inputs = None if matrix.inputs is None else whole[matrix.inputs]
    return replace(matrix, outputs=whole[matrix.outputs], inputs=inputs)


def trace(mapped: LayerMap, rules: Mapping[type, ChannelRule] = MappingProxyType({})) -> Trace:
    """Follows the channels of a Keras model.

    Args:
      mapped: a Sequential or Functional model, nested models opened.
      rules: the user's rules by layer class, which take precedence over the built-in ones.
    """
    return _Tracer(mapped, rules).trace()

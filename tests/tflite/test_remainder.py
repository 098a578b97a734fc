"""Of a file that ends in operators which no runtime has, all that comes before them is run."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.targets.child import WorkerError
from edgeprune.targets.host import HOST, installed_runtimes
from edgeprune.targets.inputs import generated_inputs
from edgeprune.tflite.format.draft import load, write
from edgeprune.tflite.format.file import read
from edgeprune.tflite.format.graph import Graph
from edgeprune.tflite.format.signature import output_ports
from edgeprune.tflite.remainder import (
    RUN_CUSTOM,
    find_remainder,
    with_remainder,
    without_remainder,
    write_without_remainder,
)
from edgeprune.tflite.text.graph_text import graph_text
from tests.support.detection import detector
from tests.support.remainders import MYSTERY, OPTIONS, decoded
from tests.support.runtimes import MODULES
from tests.support.tflite_builder import Net


def joined(path: Path, folder: Path) -> Graph:
    """A file without its remainder, which is put behind it again."""
    remainder = find_remainder(read(path))
    assert remainder is not None
    write_without_remainder(path, remainder, folder / "before.tflite")
    write(with_remainder(load(folder / "before.tflite"), load(path)), folder / "joined.tflite")
    return read(folder / "joined.tflite")


def text_of(graph: Graph) -> list[str]:
    """The text of a file but for its name, and tensors that nothing uses."""
    return [line for line in graph_text(graph) if not re.search(r"\.tflite|not used", line)]


@pytest.mark.parametrize("runtime", MODULES)
def test_what_comes_before_computes_what_the_remainder_reads(runtime: str, tmp_path: Path) -> None:
    whole = read(decoded(tmp_path / "whole.tflite"))
    alone = read(decoded(tmp_path / "alone.tflite", remainder=False))
    inputs = generated_inputs(alone, 2)
    with pytest.raises(WorkerError, match="unresolved custom op: Mystery"):
        HOST.run(whole, inputs, runtime)
    with without_remainder(whole) as runnable:
        assert [port.name for port in output_ports(runnable)] == ["y1", "offsets"]
        assert runnable.metadata == whole.metadata
        made = HOST.run(runnable, inputs, runtime).outputs
    for ours, wanted in zip(made, HOST.run(alone, inputs, runtime).outputs, strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_a_remainder_is_put_back_as_it_was(tmp_path: Path) -> None:
    path = decoded(tmp_path / "whole.tflite")
    again = joined(path, tmp_path)
    assert text_of(again) == text_of(read(path))
    assert again.signatures == read(path).signatures
    (mystery,) = (operator for operator in again.operators if operator.custom)
    assert mystery.custom_options is not None
    assert mystery.custom_options.tobytes() == OPTIONS


def test_a_file_that_runs_has_no_remainder(tmp_path: Path) -> None:
    for path in (detector(tmp_path / "a.tflite"), decoded(tmp_path / "b.tflite", remainder=False)):
        graph = read(path)
        with without_remainder(graph) as runnable:
            assert runnable is graph


@pytest.mark.parametrize("runtime", MODULES)
@pytest.mark.parametrize("op", [*sorted(RUN_CUSTOM), MYSTERY.decode()])
def test_runtimes_have_the_custom_operators_that_are_listed_and_no_others(
    op: str, runtime: str, tmp_path: Path
) -> None:
    net = Net()
    x, y = net.tensor("x", (1, 4)), net.tensor("y", (1, 4))
    net.operator("CUSTOM", [x], [y], custom_code=op.encode())
    path = net.save(tmp_path / "m.tflite", [x], [y])
    with pytest.raises(WorkerError) as caught:  # the operators want other inputs than that
        HOST.run(read(path), [np.zeros((1, 1, 4), np.float32)], runtime)
    assert runtime in installed_runtimes()
    assert ("unresolved custom op" in str(caught.value)) is (op not in RUN_CUSTOM)


def without_values(line: str) -> str:
    """A line without what it says of constants, which a remainder may have once more."""
    return re.sub(r"#\d+|<[^>]*>| ", "", line)


@st.composite
def networks(draw: st.DrawFn) -> list[tuple[bool, list[int]]]:
    """Operators, each unknown or not, and which earlier values it reads: 0 is the input, 1 a
    constant, 2 what the first operator makes."""
    count = draw(st.integers(1, 9))
    return [
        (
            draw(st.booleans()) and draw(st.booleans()),
            draw(st.lists(st.integers(0, made + 1), min_size=1, max_size=3)),
        )
        for made in range(count)
    ]


def built(network: list[tuple[bool, list[int]]], path: Path) -> Graph:
    """A file of a network; its outputs are the values that no operator reads."""
    net = Net()
    places = [net.tensor("x", (1, 2)), net.constant("c", np.ones((1, 2), np.float32))]
    for number, (unknown, read_) in enumerate(network):
        places.append(net.tensor(f"t{number}", (1, 2)))
        inputs: Any = [places[each] for each in read_]
        if unknown:
            net.operator("CUSTOM", inputs, [places[-1]], custom_code=MYSTERY)
        else:
            net.operator("ADD_N", inputs, [places[-1]])
    read_anywhere = {each for _, reads in network for each in reads}
    outputs = [place for number, place in enumerate(places) if number not in read_anywhere][-3:]
    return read(net.save(path, [places[0]], [index for index in outputs if index > 1]))


def depends(network: list[tuple[bool, list[int]]], value: int, *, on_unknown: bool) -> bool:
    """Whether a value depends on an unknown operator, else on the input: by going back."""
    if value < 2:
        return not on_unknown and value == 0
    unknown, read_ = network[value - 2]
    own = unknown and on_unknown
    return own or any(depends(network, each, on_unknown=on_unknown) for each in read_)


@given(network=networks())
def test_what_comes_before_is_all_that_depends_on_no_unknown_operator(
    network: list[tuple[bool, list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("remainder")
    graph = built(network, folder / "whole.tflite")
    remainder = find_remainder(graph)
    lost = {i for i in range(len(network)) if depends(network, i + 2, on_unknown=True)}
    live = {i for i in range(len(network)) if depends(network, i + 2, on_unknown=False)}
    if remainder is None:
        needed = {each - 2 for i in lost for each in network[i][1] if each > 1}
        needed |= {graph.subgraphs[0].makers[index].index for index in graph.outputs}
        assert not lost or not needed & live - lost
        return
    kept = set(remainder.before)
    assert not kept & lost
    left = set(range(len(network))) - kept - lost
    assert not left & live  # what else is left restores constants for the remainder alone
    for index in remainder.outputs:
        assert graph.subgraphs[0].makers[index].index in kept
    again = joined(graph.path, folder)
    assert Counter(map(without_values, text_of(again))) == Counter(
        map(without_values, text_of(graph))
    )
    made_so_far = {*again.inputs} | {tensor.index for tensor in again.tensors if tensor.constant}
    for operator in again.operators:
        assert made_so_far.issuperset(operator.inputs)
        made_so_far.update(operator.outputs)

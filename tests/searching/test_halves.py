"""Which half a labelled sample lies in depends on its content, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.core.arrays import Array
from edgeprune.core.data import Data, InputSpec, Ports
from edgeprune.core.errors import DataError
from edgeprune.core.sources import Table, open_source
from edgeprune.searching.halves import in_halves

X = np.random.default_rng(0).integers(0, 255, (400, 3)).astype(np.uint8)
Y = np.arange(400)


def table(x: Array, y: Array) -> Table:
    found = open_source({"x": x, "y": y}, Ports((InputSpec("x", (3,), "float32"),)))
    assert isinstance(found, Table)
    return found


def numbers(samples: Data | Table) -> set[int]:
    return set(map(int, samples.labels[0]))


def test_every_sample_lies_in_one_half_and_the_halves_are_about_as_large() -> None:
    first, second = in_halves(table(X, Y))
    assert numbers(first) | numbers(second) == set(range(400))
    assert len(first) + len(second) == 400
    assert 160 < len(first) < 240


def test_order_changes_no_half() -> None:
    order = np.random.default_rng(1).permutation(400)
    again = in_halves(table(X[order], Y[order]))
    assert [numbers(each) for each in again] == [numbers(each) for each in in_halves(table(X, Y))]


def test_what_other_samples_there_are_changes_no_half() -> None:
    first, second = in_halves(table(X, Y))
    fewer_first, fewer_second = in_halves(table(X[:100], Y[:100]))
    assert numbers(fewer_first) == {each for each in numbers(first) if each < 100}
    assert numbers(fewer_second) == {each for each in numbers(second) if each < 100}


def test_equal_samples_lie_in_the_same_half_whatever_their_labels() -> None:
    halves = in_halves(table(np.concatenate([X, X]), np.arange(800)))
    for half in halves:
        assert {(number + 400) % 800 for number in numbers(half)} == numbers(half)


def test_a_file_and_an_array_of_the_same_values_have_the_same_halves(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    stored = open_source(tmp_path / "data.npz", Ports((InputSpec("x", (3,), "float32"),)))
    assert isinstance(stored, Table)
    assert [numbers(e) for e in in_halves(stored)] == [numbers(e) for e in in_halves(table(X, Y))]


def test_samples_in_memory_are_split_too() -> None:
    first, second = in_halves(Data((X.astype(np.float32),), Y))
    assert numbers(first) | numbers(second) == set(range(400))


def test_samples_that_are_all_alike_cannot_be_split() -> None:
    with pytest.raises(DataError, match="two halves.*Received: 5.*--validation-data"):
        in_halves(Data((np.zeros((5, 3)),), np.arange(5)))

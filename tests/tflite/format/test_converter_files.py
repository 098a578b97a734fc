"""Sparse files of TensorFlow's own converter: made dense, encoded anew, judged by runtimes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.inspection.inspect_file import inspect
from edgeprune.tflite.format.file import read
from edgeprune.tflite.storage_plan import EncodingRules
from edgeprune.tflite.store_densely import densify_file
from edgeprune.tflite.store_sparsely import encode_file
from tests.support import converter_files
from tests.support.runtime_judge import RUNTIMES, outputs

Array = np.ndarray[Any, np.dtype[Any]]

pytestmark = pytest.mark.slow

KINDS = ("float32", "float16", "dynamic", "int8")
NAMES = [f"{net}_{kind}" for net in ("conv", "fc") for kind in KINDS]
RULES = EncodingRules(direct_float32_from=0.5, direct_int8_from=0.5, direct_dynamic_range_from=0.5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with each net dense, sparse as the converter makes it, restored, encoded."""
    folder = tmp_path_factory.mktemp("converter")
    command = [sys.executable, converter_files.__file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in NAMES:
        densify_file(folder / f"{name}_sparse.tflite", folder / f"{name}_restored.tflite")
        encode_file(folder / f"{name}_restored.tflite", RULES, folder / f"{name}_encoded.tflite")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_densify_gives_the_operators_that_the_converter_makes_without_sparsity(
    files: Path, name: str
) -> None:
    dense, sparse, restored = (
        read(files / f"{name}_{form}.tflite") for form in ("dense", "sparse", "restored")
    )
    assert any(tensor.sparse for tensor in sparse.tensors)
    assert not any(tensor.sparse for tensor in restored.tensors)
    kernels = [[(o.op, o.version) for o in graph.operators] for graph in (dense, restored)]
    assert kernels[0] == kernels[1]


@pytest.fixture(scope="module")
def computed(files: Path) -> Mapping[tuple[str, str, str], Array]:
    forms = ("dense", "restored", "encoded")
    keys = [(name, form) for name in NAMES for form in forms]
    answers = {}
    for runtime in RUNTIMES:
        paths = [files / f"{name}_{form}.tflite" for name, form in keys]
        for (name, form), outcome in zip(keys, outputs(runtime, paths, files), strict=True):
            answers[runtime, name, form] = outcome[0]
    return answers


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NAMES)
def test_the_runtimes_compute_the_same_from_all_forms(
    computed: Mapping[tuple[str, str, str], Array],
    runtime: str,
    name: str,
) -> None:
    dense, restored, encoded = (
        computed[runtime, name, form] for form in ("dense", "restored", "encoded")
    )
    assert np.std(dense.astype(np.float64)) > 0
    assert np.array_equal(dense, restored)
    tolerance = 1 if dense.dtype == np.int8 else 2e-6 * float(np.abs(dense).max())
    assert np.abs(dense.astype(np.float64) - encoded).max() <= tolerance


def test_our_encoding_is_smaller_than_the_converters_where_we_encode(files: Path) -> None:
    sizes = {
        form: (files / f"conv_int8_{form}.tflite").stat().st_size for form in ("sparse", "encoded")
    }
    assert sizes["encoded"] < sizes["sparse"]


@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic"])
def test_convolutions_without_a_sparse_network_are_called_dense(files: Path, kind: str) -> None:
    assert inspect(files / f"conv_{kind}_sparse.tflite").sparse_inference == "none"


def test_the_converters_float16_matrices_are_called_wrong(files: Path) -> None:
    """They lack a DENSIFY; both runtimes compute NaN from them."""
    report = inspect(files / "fc_float16_sparse.tflite")
    wrong = [op.op for op in report.ops if op.kernel == "wrong"]
    assert wrong == ["FULLY_CONNECTED", "FULLY_CONNECTED"]

"""The examples do what they say: each is run in an empty folder, as a user would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.tflite.class_names import read_class_names
from edgeprune.tflite.format import file as tflite_file

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "notebook.ipynb"


def run_example(name: str, folder: Path, *arguments: str) -> str:
    """Runs an example in a folder; returns what it prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def accuracies(printed: str) -> list[float]:
    return [float(found) for found in re.findall(r"accuracy (\d\.\d+)", printed)]


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []


def test_a_page_of_the_documentation_names_every_example() -> None:
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".ipynb"}}
    assert set(re.findall(r"examples/([\w.]+)", page)) == files


@pytest.mark.slow
def test_a_folder_of_images_becomes_a_file_for_a_phone_with_the_names_of_its_classes(
    tmp_path: Path,
) -> None:
    printed = run_example("image_classifier.py", tmp_path)
    dense, pruned = accuracies(printed)
    assert dense > 0.85
    assert pruned > dense - 0.1
    assert read_class_names(tmp_path / "classifier.tflite") == ("cross", "disc", "stripes")
    assert "classifier.tflite for android-phone: passed" in printed
    assert 'listOf("cross", "disc", "stripes")' in printed
    assert "put0((pixel shr 16 and 0xFF).toFloat())" in printed


@pytest.mark.slow
def test_a_keyword_spotter_becomes_a_c_array_and_firmware(tmp_path: Path) -> None:
    printed = run_example("keyword_spotting.py", tmp_path)
    assert accuracies(printed)[0] > 0.9
    header = (tmp_path / "keywords.h").read_text(encoding="utf-8")
    assert "Bytes of arena, measured by TFLM" in header
    assert "resolver.AddDepthwiseConv2D()" in header
    assert (tmp_path / "keywords.cc").exists()
    assert "cortex-m-tflm: measured by tflm" in printed
    assert "int keywords_run(const float* input0, float* output0);" in printed


@pytest.mark.slow
def test_a_file_from_elsewhere_is_pruned_and_stored_sparsely(tmp_path: Path) -> None:
    printed = run_example("any_tflite.py", tmp_path)
    assert "3 of 8 weights stored sparsely" in printed
    assert "fast.tflite for xnnpack-arm64: passed" in printed
    given, fast = (tflite_file.read(tmp_path / f"{name}.tflite") for name in ("given", "fast"))
    assert fast.path.stat().st_size < given.path.stat().st_size / 2
    kept = [graph.tensors[graph.inputs[0]].name for graph in (given, fast)]
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_a_script_of_tfmot_runs_after_one_changed_import(tmp_path: Path) -> None:
    printed = run_example("from_tfmot.py", tmp_path)
    dense, *others = accuracies(printed)
    assert min(others) > dense - 0.05
    zipped = re.search(r"Zipped: (\d+) bytes, with zeros (\d+)", printed)
    assert zipped is not None
    assert 3 * int(zipped[2]) < int(zipped[1])


@pytest.mark.slow
def test_a_network_is_pruned_until_it_fits_a_board_of_ones_own(tmp_path: Path) -> None:
    printed = run_example("own_device.py", tmp_path)
    assert "my-board.toml: good." in printed
    assert "model.tflite for my-board: passed" in printed
    assert (tmp_path / "model.tflite").stat().st_size <= 48 * 1024


@pytest.mark.slow
def test_the_notebook_shows_tables_and_a_plot(tmp_path: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=place).execute()
    shown = [
        output.get("data", {})
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert sum("<table>" in data.get("text/html", "") for data in shown) == 4
    assert sum("image/png" in data for data in shown) == 1

"""The scripts that find a Python to work with, and what benchmarks keep of their numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

assert sys.platform == "linux"

SCRIPTS = Path(__file__).parents[1] / "scripts"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def find_python(*arguments: str, path: str, pyenv: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/bash", SCRIPTS / "find_python", *arguments],
        env={"PATH": f"{path}:/usr/bin:/bin", "PYENV_ROOT": str(pyenv), "HOME": str(pyenv)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.strip()


VERSION = "{}.{}".format(*sys.version_info)


@pytest.mark.parametrize("on_path", [True, False])
def test_a_shim_that_starts_nothing_is_no_python(tmp_path: Path, on_path: bool) -> None:
    options = ["--on-path"] if on_path else []
    name = f"python{VERSION}"
    program(tmp_path / "shims" / name, f'echo "pyenv: {name}: command not found" >&2; exit 127')
    shims, pyenv = str(tmp_path / "shims"), tmp_path / "pyenv"
    other = "3.99"
    program(tmp_path / "shims" / f"python{other}", "exit 127")
    assert find_python(*options, other, path=shims, pyenv=pyenv) == (1, "")
    right = program(tmp_path / "right" / name, f'exec {sys.executable} "$@"')
    path = f"{shims}:{right.parent}"
    assert find_python(*options, VERSION, path=path, pyenv=pyenv) == (0, str(right))


def test_a_python_of_another_version_than_its_name_is_not_taken(tmp_path: Path) -> None:
    program(tmp_path / "python3.99", f'exec {sys.executable} "$@"')
    assert find_python("3.99", path=str(tmp_path), pyenv=tmp_path) == (1, "")


def test_pyenvs_versions_count_unless_only_the_path_does(tmp_path: Path) -> None:
    for patch in (2, 10):
        folder = tmp_path / f"versions/3.99.{patch}/bin"
        program(folder / "python3.99", "exit 0")
    newest = str(tmp_path / "versions/3.99.10/bin/python3.99")
    assert find_python("3.99", path="", pyenv=tmp_path) == (0, newest)
    assert find_python("--on-path", "3.99", path="", pyenv=tmp_path) == (1, "")


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    loader = SourceFileLoader(name, str(SCRIPTS / name))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    loader.exec_module(module)
    return module


@pytest.fixture
def bench_int8(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("bench_int8", monkeypatch)


@pytest.fixture
def bench_search(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("bench_search", monkeypatch)


def test_a_number_of_the_int8_table_is_made_once(bench_int8: ModuleType, tmp_path: Path) -> None:
    path, made = tmp_path / "results.json", iter((0.75, 0.5))
    settings = {"model": "dense.keras", "epochs": 4, "images": None}
    first = bench_int8.Results(path, settings)
    assert first.of("a row", 0, lambda: next(made)) == 0.75
    again = bench_int8.Results(path, settings)
    assert again.of("a row", 0, lambda: next(made)) == 0.75
    assert again.of("a row", 1, lambda: next(made)) == 0.5
    with pytest.raises(SystemExit, match="--work"):
        bench_int8.Results(path, {**settings, "epochs": 1})


def test_a_line_of_the_int8_table_has_mean_and_spread_over_seeds(bench_int8: ModuleType) -> None:
    written = bench_int8.line("a row", [0.79, 0.81], 0.795)
    assert written.split() == ["a", "row", "80.00", "%", "+0.50", "+-", "1.41", "of", "2"]
    assert bench_int8.line("a row", [0.79], 0.795).split()[-1] == "-0.50"


def test_every_amount_of_the_int8_table_stands_beside_tensorflows_own_quantization(
    bench_int8: ModuleType,
) -> None:
    names = [row.name for row in bench_int8.rows_of(4)]
    assert len(names) == len(set(names))
    for what in bench_int8.AMOUNTS:
        assert {f"one shot, {what}", f"one shot, {what}, TensorFlow's quantization"} <= {*names}
    assert {f"4 epochs, {what}" for what in bench_int8.TRAINED} <= {*names}


def test_below_a_row_of_the_int8_table_stands_each_part_of_the_export(
    bench_int8: ModuleType, tmp_path: Path
) -> None:
    manifest = tmp_path / "m.manifest.json"
    part = {"error_before": 4e-4, "error_after": 2e-4, "applied": True}
    parts = {"layers": [], "rounding": part, "bias_correction": {**part, "applied": False}}
    untried = {"error_before": None, "error_after": None, "applied": False}
    manifest.write_text(json.dumps({"int8": {**parts, "ranges": untried}}))
    lines = [line.split() for line in bench_int8.parts_of(manifest)]
    assert lines == [
        ["rounding", "0.0004", "->", "0.0002"],
        ["bias", "correction", "0.0004", "->", "0.0002,", "not", "kept"],
    ]
    assert bench_int8.parts_of(tmp_path / "none.manifest.json") == []


def test_a_front_is_interpolated_between_its_points_over_the_logarithm_of_their_costs(
    bench_search: ModuleType,
) -> None:
    front = [(0.8, 400.0), (0.6, 100.0), (0.55, 150.0)]  # the last is beaten by the second
    assert bench_search.front_cost(front, 0.6) == pytest.approx(100)
    assert bench_search.front_cost(front, 0.7) == pytest.approx(200)
    assert bench_search.front_cost(front, 0.81) == float("inf")
    assert bench_search.front_cost(front, 0.59) is None
    assert bench_search.front_cost([], 0.5) is None


def test_a_search_of_the_benchmark_goes_on_where_it_stopped_and_is_run_once(
    bench_search: ModuleType, tmp_path: Path
) -> None:
    record, runs = tmp_path / "time.json", tmp_path / "runs"
    code = "import sys; open(sys.argv[1], 'a').write('.'); sys.exit(int(sys.argv[2]))"
    command = [sys.executable, "-c", code, str(runs)]
    with pytest.raises(SystemExit, match="goes on"):
        bench_search.timed(record, [[*command, "130"], [*command, "0"]])
    interrupted = json.loads(record.read_text())["minutes"]
    assert bench_search.timed(record, [[*command, "1"], [*command, "0"]]) > interrupted > 0
    assert runs.read_text() == "...."
    bench_search.timed(record, [[*command, "2"]])
    assert runs.read_text() == "...."


def test_the_file_to_ship_of_the_benchmark_stands_beside_dense_int8(
    bench_search: ModuleType,
) -> None:
    accuracy = {"selected_on": 0.79, "reported_on": 0.785, "ci95": [0.77, 0.8]}
    point = {"accuracy": accuracy, "drop": 0.009, "cost": 120.0, "command": "edgeprune prune"}
    front = {
        "references": [{"route": "float32", "cost": 900.0}, {"route": "int8", "cost": 200.0}],
        "points": [{"cost": 1.0}, point],
        "ship": 1,
        "unit": "instructions",
        "reason": "the cheapest",
    }
    written = "\n".join(bench_search.shipped({"fronts": [front]}))
    assert "0.600 of the instructions of dense int8" in written
    assert "drop +0.90 points" in written
    assert "78.50 %" in written

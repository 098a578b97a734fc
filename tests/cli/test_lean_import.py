"""What must start at once imports neither TensorFlow nor a runtime; help imports even less."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import edgeprune
from edgeprune.core.data import Data
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.plan import Plan
from tests.support.tiny_tflite import fully_connected

RUNTIMES = (
    "tensorflow",
    "keras",
    "tflite_runtime",
    "ai_edge_litert.interpreter",
    "matplotlib",
    "optuna",
    "ethosu",
    "tflite_micro",
    "sklearn",
)
LIBRARIES = (
    *(*RUNTIMES, "ai_edge_litert", "jinja2", "numpy", "pydantic", "rapidfuzz", "rich", "scipy"),
)
COMMANDS = (
    *(
        "compare",
        "demo",
        "densify",
        "devices",
        "doctor",
        "encode",
        "export",
        "inspect",
        "measure",
        "plan",
    ),
    *(
        "prune",
        "routes",
        "search",
        "snippet",
        "targets",
        "targets install",
        "targets calibrate",
        "validate",
    ),
)

NOT_FOR_A_LOOK = (
    *("edgeprune.targets.find", "edgeprune.targets.host", "edgeprune.targets.edgetpu_model"),
    "edgeprune.tflite.rewrites",
)


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    return done.stdout.strip()


def loaded_by(command: str, modules: tuple[str, ...]) -> str:
    """Which of the modules a command imports that ends well."""
    return run(
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from edgeprune.cli import cli\n"
        f"done = CliRunner().invoke(cli, {command!r}, catch_exceptions=False)\n"
        "assert done.exit_code == 0, done.output\n"
        f"print([name for name in {modules!r} if name in sys.modules])"
    )


@pytest.mark.parametrize("module", ["edgeprune", "edgeprune.cli"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {LIBRARIES!r} if m in sys.modules])"
    assert run(code) == "[]"


def test_the_package_imports_none_of_its_modules_before_a_name_is_used() -> None:
    code = "import sys, edgeprune; print([m for m in sys.modules if m.startswith('edgeprune.')])"
    assert run(code) == "[]"


@pytest.mark.slow
def test_the_package_offers_its_verbs_and_values_and_they_are_callable() -> None:
    code = (
        "import edgeprune\n"
        "print(all(callable(getattr(edgeprune, n)) for n in edgeprune.__all__))\n"
        "print(sorted(edgeprune.__all__) == edgeprune.__all__)\n"
        "print(set(edgeprune.__all__) <= set(dir(edgeprune)))"
    )
    assert run(code).split() == ["True", "True", "True"]


def test_what_users_annotate_and_catch_is_at_the_top_of_the_package() -> None:
    assert edgeprune.Plan is Plan
    assert edgeprune.Data is Data
    assert edgeprune.EdgepruneError is EdgepruneError


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files("edgeprune").joinpath("py.typed").is_file()


def test_no_module_takes_the_name_of_a_verb() -> None:
    """Importing such a module would put it in the verb's place."""
    code = (
        "import edgeprune, importlib.util as util\n"
        "print([n for n in edgeprune.__all__ if util.find_spec(f'edgeprune.{n}')])"
    )
    assert run(code) == "[]"


def test_an_attribute_that_is_not_there_is_an_attribute_error() -> None:
    code = "import edgeprune; print(hasattr(edgeprune, 'prune_by_magic'))"
    assert run(code) == "False"


def test_the_list_of_commands_imports_none_of_them() -> None:
    modules = tuple(f"edgeprune.cli.{name}" for name in COMMANDS if " " not in name)
    assert loaded_by("--help", (*LIBRARIES, *modules)) == "[]"


def test_no_commands_help_imports_a_library_beside_click() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from edgeprune.cli import cli\n"
        f"for name in {COMMANDS!r}:\n"
        "    done = CliRunner().invoke(cli, [*name.split(), '--help'], catch_exceptions=False)\n"
        "    assert done.exit_code == 0, done.output\n"
        f"    print(*(f'{{name}}:{{m}}' for m in {LIBRARIES!r} if m in sys.modules))"
    )
    assert run(code).split() == []


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("devices", ("ai_edge_litert", "numpy", "edgeprune.targets.find", "edgeprune.core.plan")),
        ("devices --json", ("rich",)),
        ("devices pixel 8", ("ai_edge_litert", "numpy", "rapidfuzz", "edgeprune.core.plan")),
        ("doctor", ("rich", "optuna")),
        ("--version", ("rich", "optuna")),
        ("targets", ("pydantic", "edgeprune.profiles.profile")),
        ("inspect m.tflite", ("pydantic", *NOT_FOR_A_LOOK)),
        ("inspect m.tflite --device xnnpack-arm64", NOT_FOR_A_LOOK),
    ],
)
def test_a_command_imports_what_it_needs_and_no_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, without: tuple[str, ...]
) -> None:
    fully_connected(tmp_path / "m.tflite", np.eye(64))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    ours = [name for name in without if name.startswith("edgeprune.")]
    assert all(importlib.util.find_spec(name) for name in ours), "a name that no module has"
    assert loaded_by(command, (*RUNTIMES, *without)) == "[]"

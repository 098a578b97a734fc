"""Files that a device's compiler made, given in place of those that it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.conversion.lift.walk import lift
from edgeprune.core.errors import TfliteError
from edgeprune.inspection.inspect_file import inspect
from edgeprune.profiles.profile import load_profile
from edgeprune.targets.checks import Case
from edgeprune.targets.vela.target import Vela
from edgeprune.tflite.format.file import read
from tests.support.tflite_builder import Net

COMPILED = (("ethos-u", "Vela"), ("edgetpu-custom-op", "edgetpu_compiler"))


def compiled(path: Path, op: str) -> Path:
    net = Net()
    x = net.tensor("x", (1, 8), "int8", scales=[0.1])
    y = net.tensor("y", (1, 4), "int8", scales=[0.1])
    net.operator("CUSTOM", [x], [y], custom_code=op.encode())
    return net.save(path, [x], [y])


@pytest.mark.parametrize(("op", "compiler"), COMPILED)
def test_a_compiled_file_is_sent_back_with_the_name_of_its_compiler(
    op: str, compiler: str, tmp_path: Path
) -> None:
    path = compiled(tmp_path / "m.tflite", op)
    with pytest.raises(TfliteError, match=f"before {compiler} compiled it.*Give the file that"):
        lift(path)
    (finding,) = inspect(path).findings
    assert finding.rule == "custom-operator"
    assert finding.message.startswith(f"{op} is code that {compiler} made")


def test_a_compiled_file_is_not_compiled_again(tmp_path: Path) -> None:
    graph = read(compiled(tmp_path / "m.tflite", "ethos-u"))
    (check,) = Vela().check(Case(graph, load_profile("ethos-u55"), [], None))
    assert not check.ok
    assert "validate the one that Vela was given" in check.message

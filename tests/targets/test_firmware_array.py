"""The array of an export holds what runs on the device: for an NPU what its compiler wrote."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.profiles.profile import load_profile
from edgeprune.targets.firmware_array import write_firmware_array
from edgeprune.targets.vela import target as vela_target
from edgeprune.tflite.firmware_arena import ROOM, planned_arena
from edgeprune.tflite.format import file as tflite_file
from tests.support.packing import mixed_net


def in_array(source: Path) -> bytes:
    """The bytes of an array in C++."""
    return bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2}),", source.read_text()))


@pytest.mark.slow
def test_for_an_npu_the_array_is_the_compiled_file_and_the_resolver_has_its_operator(
    tmp_path: Path,
) -> None:
    path = mixed_net(tmp_path / "net.tflite")
    made, warnings = write_firmware_array(path, load_profile("ethos-u55"))
    compiled = tmp_path / "net_vela.tflite"
    assert warnings == ()
    assert made.to_json()["compiled"] == str(compiled)
    assert in_array(tmp_path / "net.cc") == compiled.read_bytes() != path.read_bytes()
    operators = [each.op for each in tflite_file.read(compiled).operators]
    assert "ethos-u" in operators
    header = (tmp_path / "net.h").read_text()
    graph = tflite_file.read(compiled)
    scratch = max(math.prod(t.shape) for t in graph.tensors if t.name.startswith("scratch"))
    assert planned_arena(graph).size >= scratch + ROOM > ROOM
    assert f"g_net_arena_size = {planned_arena(graph).size};" in header
    assert "resolver.AddEthosU()" in header
    assert f"g_net_operators = {len(set(operators))};" in header
    assert '"net_vela.tflite" as an array, compiled of "net.tflite"' in header


def test_without_the_compiler_the_array_is_the_file_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = replace(vela_target.VELA_PACKAGE, name="edgeprune-no-such-package")
    monkeypatch.setattr(vela_target, "VELA_PACKAGE", missing)
    path = mixed_net(tmp_path / "net.tflite")
    made, (warning,) = write_firmware_array(path, load_profile("ethos-u55"))
    assert in_array(made.source) == path.read_bytes()
    assert made.to_json()["compiled"] is None
    assert f"{made.source} and {made.header} hold net.tflite as it is, not compiled" in warning
    assert "edgeprune targets install vela" in warning
    assert "AddEthosU" not in made.header.read_text()

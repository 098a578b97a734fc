from __future__ import annotations

import importlib.machinery
import importlib.util
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ethosu.vela.architecture_features import Accelerator as Installed
from ethosu.vela.architecture_features import ArchitectureFeatures

from edgeprune.core.errors import CheckError, OutputError, TargetError
from edgeprune.core.terms import Accelerator
from edgeprune.inspection.validate_file import validate
from edgeprune.profiles.facts import Limit
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.targets.checks import Case, Check
from edgeprune.targets.find import find_target
from edgeprune.targets.measurement import Measurement, Settings
from edgeprune.targets.measuring import measure
from edgeprune.targets.packages import Package
from edgeprune.targets.vela import compiler, target
from edgeprune.targets.vela.compiler import DEFAULTS, compile_for_npu, configuration, read_rows
from edgeprune.targets.vela.layers import group_rows
from edgeprune.tflite.format import file as tflite_file
from tests.support.small_nets import chain, two_of_four
from tests.support.tflite_builder import Net
from tests.targets.test_tflm import direct_net

U85, U55 = load_profile("ethos-u85"), load_profile("ethos-u55")
ACCELERATORS = typing.get_args(Accelerator)
QUICK = "ethos-u65-256"
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ACCELERATORS if name != QUICK]


def dense(*shape: int) -> Any:
    return np.random.default_rng(0).integers(1, 100, shape).astype(np.int8)


def checked(path: Path, profile: DeviceProfile = U85) -> list[Check]:
    """What the compiler alone says of a file."""
    graph = tflite_file.read(path)
    return list(find_target("vela").check(Case(graph, profile, [], None)))


def failed(checks: Iterable[Check]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def measured(path: Path, profile: DeviceProfile = U85) -> Measurement:
    (found,) = measure([path], profile, target="vela")
    return found


def test_the_accelerators_are_those_that_the_installed_compiler_takes() -> None:
    assert list(ACCELERATORS) == sorted(
        Installed.member_list(), key=lambda n: (n[:9], int(n.rpartition("-")[2]))
    )


@pytest.mark.parametrize("family", sorted(DEFAULTS))
def test_the_defaults_are_the_compilers_own(family: str) -> None:
    default = ArchitectureFeatures.DEFAULT_CONFIG
    features = ArchitectureFeatures(None, f"{family}-256", default, default, 3, False, None)
    assert DEFAULTS[family] == (features.system_config, features.memory_mode)


@pytest.mark.parametrize("accelerator", [QUICK, *OTHERS])
def test_every_accelerator_can_be_named_in_the_target(accelerator: str, tmp_path: Path) -> None:
    path = chain(tmp_path / "m.tflite", [("CONV_2D", two_of_four((16, 3, 3, 16)))])
    (found,) = measure([path], U85, target=f"vela:{accelerator}")
    assert found.runtime == f"ethos-u-vela 5.2.0, {accelerator}"
    assert found.conditions.startswith(f"{accelerator}, Ethos_U")
    assert found.simulated
    assert found.cycles is not None
    assert found.cycles > 0


def test_the_profiles_memory_is_kept_for_other_sizes_of_its_npu_only() -> None:
    assert U85.vela is not None
    own = U85.vela.model_copy(update={"system": "Ethos_U85_SYS_Flash_High", "memory_mode": None})
    smaller = configuration(own, "ethos-u85-128")
    assert str(smaller) == "ethos-u85-128, Ethos_U85_SYS_Flash_High, Dedicated_Sram_384KB"
    assert configuration(own, "ethos-u65-256").system == DEFAULTS["ethos-u65"][0]


def test_an_unknown_accelerator_names_the_nearest() -> None:
    with pytest.raises(TargetError, match="Did you mean 'ethos-u85-256'") as caught:
        find_target("vela:ethos-u85-265")
    assert caught.value.exit_code == 2


def test_a_measurement_says_cycles_memory_and_that_it_is_simulated(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.tflite", [("CONV_2D", dense(32, 3, 3, 16))])
    content = measured(path).to_json()
    assert content["simulated"] is True
    assert content["latency_ms"] is None
    assert content["instructions"] is None
    assert 0 < content["npu_cycles"] <= content["cycles"]
    assert content["memory"].keys() >= {"sram_bytes", "flash_bytes"}
    assert all(content["memory"].values())
    assert (content["ops_on_device"], content["ops_on_cpu"]) == (1, 0)
    assert sum(layer["cycles"] for layer in content["layers"]) == pytest.approx(
        content["cycles"], rel=0.2
    )
    assert "estimates of the compiler, not of hardware" in content["conditions"]


def test_the_compiled_file_is_kept(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.tflite", [("CONV_2D", dense(16, 3, 3, 16))])
    kept = tmp_path / "m_vela.tflite"
    assert measured(path).artifact == str(kept)
    assert [operator.op for operator in tflite_file.read(kept).operators] == ["ethos-u"]
    folder = tmp_path / "made"
    folder.mkdir()
    (found,) = find_target("vela").measure([path], U85, Settings(artifacts=folder))
    assert found.artifact == str(folder / "m_ethos-u85-256_vela.tflite")
    assert Path(found.artifact).read_bytes() == kept.read_bytes()
    with pytest.raises(OutputError, match="does not exist"):
        find_target("vela").measure([path], U85, Settings(artifacts=tmp_path / "missing"))


def test_the_npu_skips_two_of_four_and_every_other_layer_says_why_not(tmp_path: Path) -> None:
    broken = two_of_four((64, 1, 1, 64))
    broken[5, 0, 0, :4] = 7
    layers = [
        ("CONV_2D", two_of_four((64, 3, 3, 32))),
        ("CONV_2D", dense(64, 3, 3, 64)),
        ("DEPTHWISE_CONV_2D", dense(1, 3, 3, 64)),
        ("CONV_2D", broken),
        ("CONV_2D", two_of_four((30, 1, 1, 64))),
        ("CONV_2D", dense(64, 3, 3, 30)),
    ]
    found = measured(chain(tmp_path / "m.tflite", layers, size=32))
    notes = [layer.note for layer in found.layers]
    assert [layer.name for layer in found.layers] == [f"layer_{i}" for i in range(6)]
    assert notes[0].startswith("2:4: half of the multiplications are skipped")
    assert notes[1].startswith("no 2:4: the weights are dense")
    assert notes[2].startswith("no 2:4: depthwise")
    assert notes[3].startswith("no 2:4: 1 of 1024 groups of four input channels hold more than two")
    assert notes[4].startswith("2:4")
    assert notes[5].startswith("no 2:4: 30 input channels, not a multiple of 4")
    older = measured(chain(tmp_path / "m.tflite", layers[:1], size=32), U55)
    assert "2:4" not in older.layers[0].note


@pytest.mark.slow
def test_a_layer_that_waits_for_memory_says_so(tmp_path: Path) -> None:
    """A wide 1x1 convolution on one pixel: as many weights as multiplications."""
    path = chain(tmp_path / "m.tflite", [("CONV_2D", two_of_four((512, 1, 1, 512)))], size=1)
    (layer,) = measured(path).layers
    assert "waits for DRAM: the NPU computes" in layer.note


def test_two_of_four_halves_the_multiplications_of_a_convolution(tmp_path: Path) -> None:
    sparse = chain(tmp_path / "s.tflite", [("CONV_2D", two_of_four((64, 3, 3, 64)))], size=56)
    plain = chain(tmp_path / "d.tflite", [("CONV_2D", dense(64, 3, 3, 64))], size=56)
    assert U85.vela is not None
    tables = [compile_for_npu(path, configuration(U85.vela)).rows for path in (plain, sparse)]
    before, after = (
        next(row for row in rows if row.operation == "Conv2D" and row.macs) for rows in tables
    )
    assert before.macs == 56 * 56 * 64 * 3 * 3 * 64 == 2 * after.macs
    assert before.npu_cycles / after.npu_cycles > 1.8


def test_with_two_models_the_cycles_are_compared(tmp_path: Path) -> None:
    layers = [("CONV_2D", two_of_four((64, 3, 3, 64)))] * 3
    sparse = chain(tmp_path / "s.tflite", layers, size=32)
    plain = chain(tmp_path / "d.tflite", [(op, dense(*w.shape)) for op, w in layers], size=32)
    before, after = measure([plain, sparse], U85, target="vela")
    assert before.speedup is None
    assert after.speedup is not None
    assert str(after.speedup).endswith("x by cycles")
    assert after.speedup.median == pytest.approx((before.cycles or 0) / (after.cycles or 1))
    assert after.speedup.median > 1.5


def test_zeros_anywhere_shrink_flash_and_leave_the_multiplications(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weights = dense(64, 3, 3, 64)
    zeros = np.where(generator.random(weights.shape) < 0.8, 0, weights).astype(np.int8)
    paths = [
        chain(tmp_path / f"{name}.tflite", [("CONV_2D", values)], size=48)
        for name, values in (("dense", weights), ("zeros", zeros))
    ]
    before, after = measure(paths, U55, target="vela")
    assert before.memory["flash_bytes"] / after.memory["flash_bytes"] > 2
    assert after.npu_cycles == pytest.approx(before.npu_cycles, rel=0.02)


def cpu_net(path: Path) -> Path:
    """A convolution, an operator that no NPU has, and another convolution."""
    net = Net()
    tensors = [
        net.tensor(name, (1, 8, 8, 16), "int8", scales=[0.05]) for name in ("x", "a,b", "sum", "y")
    ]
    for number, (before, after) in enumerate(((0, 1), (2, 3))):
        w = net.constant(f"w{number}", dense(16, 1, 1, 16), scales=[0.01] * 16)
        b = net.constant(f"b{number}", np.zeros(16, np.int32), scales=[0.0005] * 16)
        net.operator("CONV_2D", [tensors[before], w, b], [tensors[after]], 3, target_options())
    net.graph.operators.append(net.graph.operators.pop(1))
    axis = net.constant("axis", np.array([1], np.int32).reshape(()))
    net.operator("CUMSUM", [tensors[1], axis], [tensors[2]])
    operators = net.graph.operators
    net.graph.operators = [operators[0], operators[2], operators[1]]
    return net.save(path, [tensors[0]], [tensors[3]])


def target_options() -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.Conv2DOptionsT(strideW=1, strideH=1)


def test_operators_left_on_the_cpu_are_named_with_the_reason(tmp_path: Path) -> None:
    found = measured(cpu_net(tmp_path / "m.tflite"))
    assert [(layer.op, layer.where) for layer in found.layers] == [
        ("CONV_2D", "NPU"),
        ("CUMSUM", "CPU"),
        ("CONV_2D", "NPU"),
    ]
    assert found.layers[0].name == "a,b"
    assert found.layers[1].cycles is None
    assert "Unsupported opType" in found.layers[1].note
    assert (found.ops_on_device, found.ops_on_cpu) == (2, 1)
    assert "CUMSUM 'sum'" in found.warnings[0]


@pytest.mark.slow
def test_what_the_npu_does_not_compute_at_all_fails(tmp_path: Path) -> None:
    from tests.support.tflite_builder import convolution_net

    path = convolution_net(tmp_path / "m.tflite", np.ones((8, 3, 3, 8)), dtype="float32")
    assert failed(checked(path)) == ["operators on the NPU"]
    (found,) = measure([path], U85, target="vela")
    assert (found.cycles, found.ops_on_device) == (None, 0)
    assert "sram_bytes" not in found.memory


def with_limits(**limits: int) -> DeviceProfile:
    changed = {name: Limit(value=value, source="a test") for name, value in limits.items()}
    return U55.model_copy(update={"limits": U55.limits.model_copy(update=changed)})


@pytest.mark.slow
def test_a_model_that_does_not_fit_fails_with_the_number_and_the_limit(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.tflite", [("CONV_2D", dense(32, 3, 3, 16))])
    memory = measured(path, U55).memory
    exact = with_limits(on_chip_bytes=memory["sram_bytes"], flash_bytes=memory["flash_bytes"])
    assert not failed(checked(path, exact))
    tight = with_limits(
        on_chip_bytes=memory["sram_bytes"] - 1, flash_bytes=memory["flash_bytes"] - 1
    )
    assert failed(checked(path, tight)) == ["SRAM (vela)", "flash (vela)"]
    flash = next(check for check in checked(path, tight) if check.name == "flash (vela)")
    assert (flash.value, flash.limit) == (memory["flash_bytes"], memory["flash_bytes"] - 1)


def test_sparse_files_are_refused_since_the_compiler_ignores_the_encoding(tmp_path: Path) -> None:
    path = direct_net(tmp_path / "m.tflite")
    with pytest.raises(CheckError, match="ignore that and take wrong weights"):
        measure([path], U85, target="vela")
    assert failed(checked(path)) == ["dense weights (vela)"]


def test_a_system_that_the_compiler_does_not_know_is_bad_input(tmp_path: Path) -> None:
    assert U85.vela is not None
    wrong = U85.model_copy(update={"vela": U85.vela.model_copy(update={"system": "My_Board"})})
    path = chain(tmp_path / "m.tflite", [("CONV_2D", dense(8, 1, 1, 8))])
    with pytest.raises(TargetError, match=r"My_Board.*Correct \[vela\] in the device profile"):
        measure([path], wrong, target="vela")


def test_a_profile_without_an_accelerator_needs_one_in_the_target(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.tflite", [("CONV_2D", dense(8, 1, 1, 8))])
    with pytest.raises(TargetError, match=r"cortex-m-tflm: .*--target vela:ethos-u85-256"):
        measure([path], "cortex-m-tflm", target="vela")
    (found,) = measure([path], "cortex-m-tflm", target="vela:ethos-u55-32")
    assert found.conditions.startswith("ethos-u55-32, Ethos_U55_High_End_Embedded, Shared_Sram")


def test_a_compiler_that_does_not_end_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "_TIME_LIMIT_S", 0.01)
    path = chain(tmp_path / "m.tflite", [("CONV_2D", dense(8, 1, 1, 8))])
    (check,) = checked(path)
    assert check.name == "compiles (ethos-u-vela 5.2.0, ethos-u85-256)"
    assert not check.ok
    assert "did not end within its time limit" in check.message


def test_without_the_compiler_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "VELA_PACKAGE", Package("vela", "no-such-package", "1"))
    path = chain(tmp_path / "m.tflite", [("CONV_2D", dense(8, 1, 1, 8))])
    with pytest.raises(TargetError, match="edgeprune targets install vela"):
        measure([path], U85, target="vela")
    (check,) = checked(path)
    assert check.ok
    assert "not compiled" in check.message


def test_rows_of_one_operator_are_put_together(tmp_path: Path) -> None:
    """SOFTMAX becomes some thirty operations, of which only the last has the name of its output."""
    from tests.targets.test_tflm import softmax_net

    path = softmax_net(tmp_path / "m.tflite", 0.1)
    compiled = compile_for_npu(path, configuration(U85.vela)) if U85.vela else None
    assert compiled is not None
    assert len(compiled.rows) > 10
    (layer,) = group_rows(compiled.rows, tflite_file.read(path))
    assert layer.operator is not None
    assert layer.operator.op == "SOFTMAX"
    assert layer.rows == compiled.rows
    assert layer.cycles == sum(row.cycles for row in compiled.rows)


def test_a_broken_line_of_the_table_is_passed_over() -> None:
    header = (
        "Original Operator,NNG Operator,Target,Staging Usage,Peak% (Staging),Op Cycles,"
        "Network% (cycles),NPU,SRAM AC,DRAM AC,OnFlash AC,OffFlash AC,MAC Count,Network% (MAC),"
        "Util% (MAC),Name"
    )
    line = "Conv2D,Conv2D,NPU,1,2.0,30,4.0,5,6,7,8,9,10,1.0,2.0,a,b"
    (row,) = read_rows(f"{header}\n{line}\nrest of a name\n")
    assert (row.name, row.cycles, row.npu_cycles, row.macs) == ("a,b", 30, 5, 10)
    assert row.access_cycles == {"SRAM": 6, "DRAM": 7, "on-chip flash": 8, "off-chip flash": 9}


@pytest.mark.slow
def test_validate_asks_the_compiler(tmp_path: Path) -> None:
    path = chain(tmp_path / "m.tflite", [("CONV_2D", two_of_four((16, 3, 3, 16)))])
    verdict = validate(path, U85)
    assert verdict.ok, verdict
    names = [check.name for check in verdict.checks]
    assert names[-4:] == [
        "compiles (ethos-u-vela 5.2.0, ethos-u85-256)",
        "operators on the NPU",
        "SRAM (vela)",
        "flash (vela)",
    ]
    assert "pattern NofM(2,4)" in names


@pytest.fixture(scope="module")
def bench() -> Any:
    """scripts/bench_vela as a module."""
    path = Path(__file__).parents[2] / "scripts" / "bench_vela"
    loader = importlib.machinery.SourceFileLoader("bench_vela", str(path))
    spec = importlib.util.spec_from_loader("bench_vela", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.slow
def test_two_of_four_saves_the_promised_cycles_on_ten_convolutions(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = bench.measured(bench.ten_convolutions(), "ethos-u85", tmp_path)
    before, after = pair
    assert before.npu_cycles / after.npu_cycles >= 1.8
    assert before.cycles / after.cycles >= 1.8
    assert [layer.note[:3] for layer in after.layers] == ["2:4"] * 10
    bench.show("2:4", *pair)
    assert "npu_cycles" in capsys.readouterr().out


@pytest.mark.slow
def test_eighty_percent_zeros_shrink_the_flash_of_a_mobilenet(bench: Any, tmp_path: Path) -> None:
    before, after = bench.measured(bench.mobilenet(), "ethos-u55", tmp_path, sparsity=0.8)
    assert before.memory["flash_bytes"] / after.memory["flash_bytes"] > 2
    assert after.npu_cycles == pytest.approx(before.npu_cycles, rel=0.02)

"""Packages that targets need: real pip, on a wheel made here, into a folder of its own."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from edgeprune.core.errors import TargetError
from edgeprune.targets.find import find_target
from edgeprune.targets.packages import Package
from edgeprune.targets.tflm.target import TFLM_PACKAGE
from edgeprune.targets.vela.target import VELA_PACKAGE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN = Package("own", "edgeprune-test-instrument", "1.5")


def make_wheel(folder: Path) -> None:
    """A wheel that pip takes, with nothing in it."""
    stem = f"edgeprune_test_instrument-{OWN.version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        info = f"{stem}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {OWN.name}\nVersion: {OWN.version}\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and nowhere else."""
    shop, installed = tmp_path / "shop", tmp_path / "installed"
    shop.mkdir()
    installed.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(shop), "TARGET": str(installed)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.syspath_prepend(str(installed))
    return shop


def test_install_makes_it_ready(no_index: Path) -> None:
    make_wheel(no_index)
    before = OWN.readiness()
    assert (before.ready, before.remedy) == (False, "edgeprune targets install own")
    with pytest.raises(TargetError, match="Run: edgeprune targets install own"):
        OWN.require()
    told: list[str] = []
    OWN.install(lambda what, _, __: told.append(what))
    assert OWN.readiness().detail == "edgeprune-test-instrument 1.5"
    assert told == ["installing edgeprune-test-instrument==1.5"]
    OWN.install(lambda what, _, __: told.append(what))
    assert len(told) == 1
    other = Package("own", OWN.name, "2.0").readiness()
    assert other.ready
    assert other.detail.endswith("1.5, not the 2.0 that was checked")


def test_a_failed_install_gives_the_command_to_run_by_hand(no_index: Path) -> None:
    assert not list(no_index.iterdir())
    with pytest.raises(
        TargetError, match="No matching distribution.*-m pip install edgeprune-test"
    ):
        OWN.install(lambda *_: None)


@pytest.mark.parametrize("package", [TFLM_PACKAGE, VELA_PACKAGE])
def test_extras_and_targets_name_the_same_version(package: Package) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert [text.partition(";")[0] for text in extras[package.target]] == [package.requirement]
    assert find_target(package.target).readiness().ready

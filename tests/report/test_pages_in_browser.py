"""The pages in Chromium: what they show at the width of a phone, in the dark, and by the keyboard.

`scripts/environment test` installs the browser and axe-core.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.core.layer_noise import LayerNoise
from edgeprune.core.pattern import Block
from edgeprune.core.plan import LayerPlan, LayerSparsity, Plan
from edgeprune.report.accuracies import AccuracyRow
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.loading.snippet import Part, Snippet
from edgeprune.report.report import Report
from edgeprune.report.search_page import search_page
from edgeprune.targets.checks import Check, Verdict
from edgeprune.targets.measurement import LayerCost
from tests.report.test_cheaper_dense import counted, half, phone
from tests.report.test_search_page import searched
from tests.support.browser import Colors, Page, browser

assert sys.platform == "linux"
pytestmark = pytest.mark.slow

GROUND = "getComputedStyle(document.body).backgroundColor"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
LONG = "a_long_name_without_any_place_to_break_it/" * 4


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def full_report() -> Report:
    """A device with everything that a page shows, on long names, and one that failed."""
    row = LayerPlan(
        path=LONG, kind="Conv2D", shape=(1, 1, 8, 8), pattern=Block(2, 1), sparsity=0.8, reason=LONG
    )
    accuracy = AccuracyRow("float dense", 0.99, (0.97, 1.0), 359, "LiteRT 2.1.6")
    code = Snippet(LONG, "phone", "sparse", "python", (f"Needs {LONG}.",), (Part("a.py", LONG),))
    device = phone(half(counted(400_000)))
    full = replace(
        device,
        plan=Plan(device="phone", model="m", goal="latency", asked=0.8, layers=(row,)),
        layers=(LayerSparsity(LONG, 64, 51),),
        verdict=Verdict(
            "phone.tflite",
            "phone",
            (Check("runs", True, None, None, LONG, kind="runs"),),
            (LayerNoise(LONG, 20.0),),
        ),
        pruned=(
            replace(device.pruned[0], layers=(LayerCost(LONG, "CONV_2D", "CPU", 10, 20, LONG),)),
        ),
        accuracies=tuple(
            replace(accuracy, name=f"{name} dense") for name in ("float", "int8", "x")
        ),
        notes=(LONG, "</script><script>alert(1)</script>"),
        loading=(code,),
    )
    failed = DeviceReport("other", LONG, error=f"does not convert: {LONG}")
    return Report(LONG, (full, failed), LONG, f"edgeprune compare {LONG}", {"python": LONG})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    full_report().write(folder)
    (folder / "search.html").write_text(search_page(searched(name=LONG)), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in ("report", "search")}


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("name", ["report", "search"])
def test_nothing_overflows_and_axe_has_no_serious_finding(
    page: Page, files: dict[str, Path], name: str, width: int, colors: Colors
) -> None:
    page.open(files[name], width, colors)
    page.ask("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    wide, shown = page.ask(WIDTHS)
    assert shown in range(width - 20, width + 1)
    assert wide <= shown
    assert page.findings() == []


@pytest.mark.parametrize("name", ["report", "search"])
def test_colours_follow_the_preference(page: Page, files: dict[str, Path], name: str) -> None:
    found = []
    for colors in ("light", "dark"):
        page.open(files[name], 1400, colors)
        found.append(page.ask(GROUND))
    assert found == ["rgb(246, 247, 249)", "rgb(18, 23, 28)"]


@pytest.mark.parametrize("name", ["report", "search"])
def test_paper_is_white_and_loses_nothing_at_its_edge(
    page: Page, files: dict[str, Path], name: str
) -> None:
    page.open(files[name], 720, "dark")
    page.call("Emulation.setEmulatedMedia", media="print")
    page.ask("dispatchEvent(new Event('beforeprint'))")
    wide, shown = page.ask(WIDTHS)
    assert page.ask(GROUND) == "rgb(255, 255, 255)"
    assert wide <= shown
    assert page.ask("document.querySelectorAll('details:not([open])').length") == 0
    page.ask("dispatchEvent(new Event('afterprint'))")
    assert page.ask("document.querySelectorAll('details:not([open])').length") > 0


def test_the_data_in_the_page_equal_the_reports_json(page: Page, files: dict[str, Path]) -> None:
    page.open(files["report"], 1400, "light")
    text = page.ask("document.getElementById('report').textContent")
    assert json.loads(text) == json.loads((files["report"].parent / "report.json").read_text())
    assert page.ask("document.getElementById('report').type") == "application/json"


def test_a_heading_sorts_the_files_by_the_keyboard_and_says_how(
    page: Page, files: dict[str, Path]
) -> None:
    page.open(files["report"], 1400, "light")
    column = "[...document.querySelectorAll('.sortable tbody tr')].map((r) => r.cells[3].innerText)"
    assert page.ask(column) == ["50", "200", "100"]
    heads = "[...document.querySelectorAll('.sortable thead th')]"
    page.ask(f"{heads}[2].querySelector('button').focus()")
    page.press("Tab", 9)
    for expected, said in (
        (["50", "100", "200"], "ascending"),
        (["200", "100", "50"], "descending"),
    ):
        page.press("Enter", 13, "\r")
        assert page.ask(column) == expected
        assert page.ask(f"{heads}.map((th) => th.getAttribute('aria-sort'))[3]") == said
    assert page.ask("document.querySelectorAll('[aria-sort]').length") == 1


def test_what_a_search_tried_sorts_by_values_with_mouse_and_keyboard(
    page: Page, files: dict[str, Path]
) -> None:
    page.open(files["search"], 1400, "light")
    tried = "document.querySelector('details .sortable')"
    page.ask(f"{tried}.closest('details').open = true")
    costs = (
        f"[...{tried}.querySelectorAll('tbody tr')].map((r) => Number(r.cells[2].dataset.value))"
    )
    heading = f"{tried}.querySelectorAll('thead button')[2]"
    before = page.ask(costs)
    page.ask(f"{heading}.click()")
    assert page.ask(costs) == sorted(before) != before
    page.ask(f"{heading}.focus()")
    page.press("Enter", 13, "\r")
    assert page.ask(costs) == sorted(before, reverse=True)


def test_the_page_asks_for_nothing_from_outside(page: Page, files: dict[str, Path]) -> None:
    for file in files.values():
        page.open(file, 390, "light")
        assert page.ask("performance.getEntriesByType('resource').map((each) => each.name)") == []


def test_the_first_thing_on_the_page_is_the_file_to_ship(
    page: Page, files: dict[str, Path]
) -> None:
    page.open(files["report"], 390, "light")
    link = "document.querySelector('main a')"
    assert page.ask(f"{link}.getAttribute('href')") == "./dense-float16-arithmetic.tflite"
    assert page.ask(f"{link}.getBoundingClientRect().top") < 600

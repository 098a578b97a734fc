"""The files of a device as the page of a report shows them: table, picture and what to ship."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from edgeprune.core.files import Artifact
from edgeprune.report.device_files import DeviceFile, Figure, Named, Scale, files_of, scales_of
from edgeprune.report.device_report import DeviceReport
from edgeprune.report.device_view import embedded, link_to, view_of
from edgeprune.report.headline import Expected
from edgeprune.report.pareto import front_of, places_of, plot_pareto
from edgeprune.report.report import Report
from edgeprune.targets.latency import Latency
from edgeprune.targets.modelled_cycles import ModelledCycles
from tests.report.test_cheaper_dense import DENSE, HALF, PRUNED, counted, half, phone

MS = Scale("ms", "measured", "host", "LiteRT 2.3.0", 0)


def file(name: str, cost: float, accuracy: float) -> DeviceFile:
    figure = Figure(MS, cost, f"{cost:.3f}", "no spread")
    return DeviceFile(name, "zeros", False, PRUNED, Named(accuracy, 100, "LiteRT"), (figure,))


def test_every_file_stands_once_also_where_routes_share_it() -> None:
    device = phone(half(counted(400_000)))
    other = replace(device, name="phone-other", artifact=replace(PRUNED, sha256="o" * 64))
    files = files_of([device, other])
    assert [each.name for each in files] == [
        "pruned float32 (phone)",
        "pruned float32 (phone-other)",
        "dense float32",
        "dense float16-arithmetic",
    ]
    assert next(each.name for each in files_of([device])) == "pruned float32"


def test_a_number_says_its_kind_and_what_it_leaves_open() -> None:
    found = ModelledCycles(300_000, 0.99, {"l1": 1, "l2": 0, "l3": 0})
    measured = counted(
        700_000,
        modelled_cycles={"neoverse-n1": found},
        cycles_core="neoverse-n1",
        latency_ms=Latency(2.0, 2.2, (1.9, 2.1), 10),
        memory={"arena_bytes": 4096},
    )
    device = replace(phone(), dense=(measured,), pruned=(measured,))
    figures = files_of([device])[0].figures
    assert [(each.scale.unit, each.scale.kind, each.text, each.spread) for each in figures] == [
        ("ms", "simulated", "2.000", "1.900 to 2.100"),
        ("instructions", "simulated", "0.7 M", "spread not known"),
        ("modelled cycles of neoverse-n1", "modelled", "0.3 M", "no spread"),
        ("arena bytes", "simulated", "4,096", "no spread"),
    ]


def test_what_one_ratio_says_of_a_counters_spread_holds_for_all_its_counts() -> None:
    files = files_of([phone(half(counted(400_000)))])
    assert {figure.spread for each in files for figure in each.figures} == {"±0.1 %"}


def test_what_is_only_expected_is_called_so_and_a_proxys_time_is_left_out() -> None:
    proxy = (counted(1, stand_in=True),)
    expected = Expected("instructions", 200e6, 133e6, "cost table", "LiteRT")
    device = replace(phone(), dense=proxy, pruned=proxy, expected=expected, baselines=())
    pruned, dense = files_of([device])
    assert (pruned.figures[0].text, dense.figures[0].text) == ("133.0 M", "200.0 M")
    assert pruned.figures[0].scale.source == "expected by cost table, LiteRT"


def test_a_baseline_that_could_not_be_had_says_why() -> None:
    missing = replace(half(artifact=HALF), artifact=None, accuracy=None, reason="not exported: no")
    last = files_of([phone(missing)])[-1]
    assert (last.artifact, last.named, last.figures, last.what) == (None, None, (), missing.reason)
    assert link_to(last) == ""


def test_scales_stand_in_the_order_in_which_files_are_ranked() -> None:
    later, first = replace(MS, unit="instructions", ranks=3), MS
    files = [
        DeviceFile("a", "", False, figures=(Figure(later, 1, "1", ""), Figure(first, 1, "1", "")))
    ]
    assert scales_of(files) == (first, later)


def test_the_front_has_the_files_that_no_other_beats_in_cost_and_accuracy() -> None:
    files = [file("quick", 1, 0.8), file("good", 3, 0.9), file("beaten", 4, 0.9), file("x", 2, 0.7)]
    places = places_of(files, None)
    assert [place.file.name for place in places] == ["quick", "x", "good", "beaten"]
    assert [place.file.name for place in front_of(places)] == ["quick", "good"]


def test_the_picture_shows_every_file_and_says_the_same_in_words() -> None:
    chart = plot_pareto("Accuracy", [file("quick", 1, 0.8), file("$good$", 3, 0.9)], PRUNED.path)
    assert chart is not None
    assert {">quick<", ">$good$<"} <= set(re.findall(r">[^<>]+<", chart.svg))
    assert "$good$ (to ship): accuracy 0.900 (0.826 to 0.945) at 3.000 ms" in chart.alternative
    assert "var(--chart-pruned, #2563a8)" in chart.svg
    assert plot_pareto("Accuracy", [file("quick", 1, 0.8)], None) is None
    assert plot_pareto("Accuracy", [], None) is None


def test_the_view_of_a_device_marks_the_file_that_its_report_ships() -> None:
    device = phone(half(counted(400_000)))
    view = view_of("phone", [device], device)
    assert view.shipped is not None
    assert view.shipped.artifact == HALF
    assert [view.ships(each) for each in view.files] == [False, False, True]
    page = Report("m.keras", (device,)).to_html()
    assert page.count('<tr class="shipped">') == 1
    assert '<a href="./dense-float16-arithmetic.tflite">' in page


def test_what_is_not_finished_has_nothing_to_ship_and_says_where_to_look() -> None:
    page = Report(
        "m.keras", (DeviceReport("phone", "it skips", error="does not convert"),)
    ).to_html()
    assert "Nothing to ship yet" in page
    assert 'or a check failed: <a href="#phone">see why</a>' in page
    assert '<h2 id="phone">' in page
    assert "Not finished: does not convert" in page


def test_the_page_says_what_makes_it_again_and_with_which_versions() -> None:
    device = phone()
    asked = Report("m.keras", (device,), command="edgeprune compare 'a b'", environment={"k": "3"})
    page = asked.to_html()
    assert '<pre class="command">edgeprune compare &#39;a b&#39;</pre>' in page
    assert "<dt>k</dt><dd>3</dd>" in page
    assert "command" not in asked.to_json()
    assert "What makes it again" not in Report("m.keras", (device,)).to_html()


def test_json_within_the_page_cannot_end_its_script() -> None:
    content = {"name": "</script><!-- & >", "value": 1.5}
    text = embedded(content)
    assert not set("<>&") & set(text)
    assert json.loads(text) == content


def test_a_link_is_to_the_file_beside_the_page_whatever_its_name() -> None:
    odd = Artifact(DENSE.path.with_name('javascript:a "b".tflite'), "d" * 64, 1, 1)
    assert link_to(DeviceFile("a", "", True, odd)) == "./javascript%3Aa%20%22b%22.tflite"

"""The page of a search: one file that shows the front, what was tried and what to ship."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from edgeprune.report.search_chart import plot_front
from edgeprune.report.search_page import search_page
from edgeprune.searching.assemble import Facts, fronts_of, trials_of
from edgeprune.searching.budget import Budget
from edgeprune.searching.candidate import HalfAccuracy
from edgeprune.searching.result import Search, Seconds
from tests.support.pretended_search import Formula, alone, phone_space

DENSE = HalfAccuracy(0.80, 0.80, (0.78, 0.82), (1000, 1000), "Keras")


def searched(*, labels: bool = True, name: str = "net.keras") -> Search:
    """A search whose evaluations are a formula."""
    budget = Budget(max_drop=0.01) if labels else Budget()
    space = phone_space(budget)
    formula = Formula(space, labels=labels)
    finished = alone(space, formula, {})
    dense = DENSE if labels else None
    facts = Facts(space, dense, fraction=True, command=lambda each, _: f"edgeprune x '{each.key}'")
    return Search(
        model=name,
        model_sha256="a" * 64,
        data_sha256="b" * 64,
        budget=budget,
        seed=0,
        fronts=fronts_of(facts, finished),
        trials=trials_of(space, finished),
        seconds=Seconds(100.0, 3.0),
        environment={"python": "3.11.2"},
    )


def test_the_page_needs_no_network_and_shows_every_point_with_its_command() -> None:
    search = searched()
    page = search_page(search)
    assert not re.search(r'(?:src|href)="https?:|@import|url\((?!#)', page)
    assert page.count('<pre class="command">') == len(
        {each.name for front in search.fronts for each in (*front.points, *front.references)}
    )
    assert search.fronts[0].reason in page.replace("&#39;", "'")
    assert "prefers-color-scheme: dark" in page
    assert "3.11.2" in page
    assert "100 s, 3.0 % of it overhead" in page


def test_the_plot_has_dense_files_the_budget_and_what_was_tried() -> None:
    front = searched().fronts[0]
    chart = plot_front(front)
    assert chart is not None
    shown = ("dense float32", "dense int8", "budget", "million instructions of one inference")
    assert [text for text in (*shown, ": ship this", "--max-cost") if text in chart.svg] == [
        *shown,
        ": ship this",
    ]


def test_names_in_the_plot_stand_in_rows_of_their_own_the_leftmost_on_top() -> None:
    chart = plot_front(searched().fronts[0], max_cost=3e6)
    assert chart is not None
    places = re.findall(
        r'x="([\d.]+)" y="([\d.]+)"[^>]*>(?:dense [^<]*|[^<]*: ship this)</text>', chart.svg
    )
    heights = [float(y) for _, y in sorted(places, key=lambda place: float(place[0]))]
    assert len(heights) == 4
    assert min(low - high for high, low in pairwise(heights)) > 8
    assert "--max-cost</text>" in chart.svg


def test_without_labels_there_is_no_plot_but_a_page() -> None:
    search = searched(labels=False)
    assert plot_front(search.fronts[0]) is None
    assert "Ship " in search_page(search)


def test_names_from_outside_are_text_on_the_page() -> None:
    search = searched(name="<script>alert(1)</script>")
    front = replace(search.fronts[0], reason="<b>bold</b>")
    page = search_page(replace(search, fronts=(front,)))
    assert "<script>alert" not in page
    assert "<b>" not in page

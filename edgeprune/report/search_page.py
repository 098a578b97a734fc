"""What a search found, as one HTML page that needs nothing else."""

from __future__ import annotations

from edgeprune.core.grid import Grid, grid
from edgeprune.report.pages import render
from edgeprune.report.search_chart import plot_front
from edgeprune.searching.attempts import attempts_grid
from edgeprune.searching.result import Search


def search_page(search: Search) -> str:
    """The page: what to ship and why, plots, fronts, what was tried, commands, environment."""
    return render(
        "search.html",
        search=search,
        budget=_budget(search),
        charts={front.title: plot_front(front, search.budget.max_cost) for front in search.fronts},
        attempts_grid=attempts_grid,
        environment=_environment(search),
    )


def _budget(search: Search) -> str:
    """What was asked for, as the options that ask for it."""
    asked = search.budget.to_json()
    words = [f"--{key.replace('_', '-')} {value:g}" for key, value in asked.items() if value]
    return ", ".join(words) or "no budget: the cheapest file"


def _environment(search: Search) -> Grid:
    return grid("Environment", ("what", "version"), search.environment.items())

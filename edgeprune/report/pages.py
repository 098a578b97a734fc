"""Pages of a report: templates filled into HTML that needs nothing else."""

from __future__ import annotations

from typing import Any


def render(template: str, **values: Any) -> str:
    """A template of `templates/` with its values; text in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgeprune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)

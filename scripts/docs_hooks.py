"""Pages of the documentation that are made from device profiles, so that they cannot go stale.

MkDocs calls `on_config` and `on_files` (`hooks` in mkdocs.yml). What they make is never written to
`docs/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from edgeprune.core.terms import LAYER_KINDS
from edgeprune.profiles.devices import NOT_MEASURED
from edgeprune.profiles.facts import Limit
from edgeprune.profiles.hardware import Hardware
from edgeprune.profiles.profile import DeviceProfile, shipped_profiles
from edgeprune.profiles.rules import PatternRule, Route

FOLDER = "devices"
SECTION = "Devices"


def on_config(config: Any) -> Any:
    """Lists the page of every device in the navigation, behind the overview."""
    listed = next(entry[SECTION] for entry in config["nav"] if SECTION in entry)
    listed.extend({profile.name: path_of(profile)} for profile in shipped_profiles())
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages to those that are in `docs/`."""
    from mkdocs.structure.files import File

    for path, text in pages(shipped_profiles()):
        files.append(File.generated(config, path, content=text))
    return files


def pages(profiles: Sequence[DeviceProfile]) -> Iterator[tuple[str, str]]:
    """The overview and a page per profile: path below `docs/`, and Markdown."""
    yield f"{FOLDER}/index.md", overview(profiles)
    yield from ((path_of(profile), device_page(profile)) for profile in profiles)


def path_of(profile: DeviceProfile) -> str:
    """The path of a profile's page below `docs/`."""
    return f"{FOLDER}/{profile.name}.md"


def overview(profiles: Iterable[DeviceProfile]) -> str:
    """All devices: what makes a model faster or smaller there, and by what it is measured."""
    rows = (
        (f"[{p.name}]({p.name}.md)", text(p.device), text(p.summary), ", ".join(p.targets))
        for p in profiles
    )
    return "\n".join(
        [
            "# Devices\n",
            "A page for each profile that comes with edgeprune, made from its file. "
            "`edgeprune devices WORDS` finds the profiles of a product, a chip or a maker; one of "
            "[your own](../profiles.md) is a `.toml` file.\n",
            table(("device", "what it is", "what pays", "measured by"), rows),
        ]
    )


def device_page(profile: DeviceProfile) -> str:
    """One device: what pays there and why, its limits, instruments, facts and products."""
    parts = [
        f"# {profile.name}\n\n{text(profile.device)}: {text(profile.summary)}.\n",
        f"```\n{way(profile)}\n```\n",
        "## What pays\n",
        table(("route", "numbers", "pattern", "removed", "gain seen so far"), routes(profile)),
        *(why(route) for route in profile.offered if not route.dense),
        f"Other layers stay dense: {text(profile.left_alone)}.\n",
        "## Measured by\n",
        f"{', '.join(f'`{name}`' for name in profile.targets)}, the best first; see "
        "[how numbers are measured](../measuring.md). A file has to load in:\n",
        table(("runtime", "source"), runtimes(profile)),
        "## Limits\n",
        table(("limit", "bytes", "source"), limits(profile)),
        *facts(profile),
        *products(profile.hardware),
    ]
    return "\n".join(parts)


def way(profile: DeviceProfile) -> str:
    """The commands from a model to a file that ships, and to the code that loads it."""
    name = profile.name
    return "\n".join(
        [
            f"edgeprune plan    model.keras --device {name}   # what would be pruned, and why",
            f"edgeprune compare model.keras --devices {name} --data data.npz -o out",
            f"edgeprune snippet out/{name}.tflite --device {name}   # how a program loads it",
        ]
    )


def routes(profile: DeviceProfile) -> Iterator[tuple[str, ...]]:
    """A row for each route, the default first."""
    for route in profile.offered:
        patterns = dict.fromkeys(str(rule.pattern) for rule in route.rules)
        yield (
            f"`{route.name}`",
            route.numerics,
            text(", ".join(patterns) or "dense"),
            f"{route.default_sparsity:.0%}" if patterns else "",
            text(gain(profile, route)),
        )


def gain(profile: DeviceProfile, route: Route) -> str:
    """What was measured on a route, with its source, or why nothing is gained."""
    if route.dense:
        return "nothing is pruned"
    if profile.lacks(route):
        return f"none: {profile.core} has no {' and no '.join(profile.lacks(route))}"
    return f"{route.gain} ({route.gain.source})" if route.gain else NOT_MEASURED


def why(route: Route) -> str:
    """The rules of a route: on which layers a pattern pays, why, and what shows that."""
    goals = f", for {', '.join(route.goals)}" if route.goals else ""
    rules = "\n".join(map(reason, route.rules))
    return (
        f"### {route.name}\n\n{route.numerics}{goals}. Source: {text(route.source)}.\n\n{rules}\n"
    )


def reason(rule: PatternRule) -> str:
    """A rule as an item of a list."""
    kinds = "every layer with a kernel" if rule.kinds == LAYER_KINDS else ", ".join(rule.kinds)
    return f"- `{rule.pattern}` on {kinds}. {text(rule.because)}. Source: {text(rule.source)}."


def runtimes(profile: DeviceProfile) -> Iterator[tuple[str, str]]:
    """A row for each runtime that a file has to load in."""
    return ((f"{each.name} {each.version}", text(each.source)) for each in profile.runtimes)


def limits(profile: DeviceProfile) -> Iterator[tuple[str, ...]]:
    """A row for each limit, with what it means by its key."""
    for name in type(profile.limits).model_fields:
        limit: Limit | None = getattr(profile.limits, name)
        if limit is not None:
            known = "unknown" if limit.value is None else f"{limit.value:,}"
            yield f"`{name}`", known, text(limit.source)


def facts(profile: DeviceProfile) -> Iterator[str]:
    """What else is known of a device; nothing where that is nothing."""
    if profile.facts:
        yield "## What else is known\n"
        yield from (f"- {text(fact.text)}. Source: {text(fact.source)}." for fact in profile.facts)
        yield ""


def products(hardware: Sequence[Hardware]) -> Iterator[str]:
    """The products that a profile stands for, by kind."""
    if not hardware:
        return
    yield "## Products\n"
    yield (
        "Any of these names is taken by `--device`. Each comes with the document to look its cores "
        "up in; none was measured unless this page says so. Where the last column says so, another "
        "profile suits the product better.\n"
    )
    for kind, group in groupby(sorted(hardware, key=lambda h: h.kind), lambda h: h.kind):
        yield f"### {kind}\n"
        yield table(("product", "chip", "cores", "source", "note"), map(product, group))


def product(hardware: Hardware) -> tuple[str, ...]:
    """A row for one product."""
    other = "another profile suits it better" if hardware.rank > 1 else ""
    note = "; ".join(filter(None, (hardware.note, other)))
    facts = (hardware.name, hardware.chip, hardware.cores, hardware.source, note)
    return tuple(map(text, facts))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def text(plain: str) -> str:
    """Plain text as Markdown that shows it, in a paragraph or a cell of a table."""
    shown = plain.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
    for mark in ("*", "_", "[", "]"):
        shown = shown.replace(mark, "\\" + mark)
    return shown.replace("\n", " ").removesuffix(".")

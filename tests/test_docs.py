"""The documentation: its commands are run, and what is made from data is made."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import edgeprune
from edgeprune.cli import cli
from edgeprune.profiles.folder import profile_names
from edgeprune.profiles.profile import load_profile, shipped_profiles
from tests.support.docs import Fence, fences, missing_lines, shown_commands

ROOT = Path(__file__).parents[1]
PAGES = (
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.md")),
)
OTHER_LANGUAGES = frozenset(
    {"c", "cmake", "cpp", "diff", "groovy", "html", "java", "json", "kotlin", "py", "sh", "text"}
    | {"toml"}
)
"""Languages of blocks that are not run: what installs, needs a board or PyTorch (`py`), or is code
that others compile."""
COLUMNS = "110"
"""The width of the terminal that pages show."""


def blocks(page: Path) -> list[Fence]:
    return list(fences(page.read_text(encoding="utf-8")))


def edgeprune_lines() -> Iterator[tuple[str, list[str]]]:
    """Every line of a block that calls the program: where it is, and its words."""
    for page in PAGES:
        for fence in blocks(page):
            if fence.language in {"", "console", "sh"}:
                text = fence.text.replace("\\\n", " ")
                for line in re.findall(r"^(?:\$ )?(edgeprune .*)$", text, re.MULTILINE):
                    words = shlex.split(line, comments=True)
                    yield f"{page.name}:{fence.line}: {line}", words[1:]


@pytest.mark.parametrize(("place", "words"), list(edgeprune_lines()))
def test_every_command_in_the_pages_exists_with_its_options(place: str, words: list[str]) -> None:
    command: click.Command | None = cli
    # click keeps the help option that it makes here, for the tests of the commands too.
    context = click.Context(cli, **cli.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        if inner is None:  # `devices` takes words in the place of a command
            break
        command, words = inner, words[1:]
    assert command is not None
    assert command is not cli or words[0].startswith("-"), f"{place}: no such command"
    known = {name for each in command.get_params(context) for name in each.opts}
    asked = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert asked <= known | {"--json"}, place


def test_blocks_are_run_or_say_what_else_they_are() -> None:
    known = OTHER_LANGUAGES | {"", "console", "python"}
    assert {fence.language for page in PAGES for fence in blocks(page)} <= known


def test_every_command_of_a_console_is_the_programs() -> None:
    shown = [
        each.command
        for page in PAGES
        for fence in blocks(page)
        if fence.language == "console"
        for each in shown_commands(fence)
    ]
    assert len(shown) > 10
    assert [command for command in shown if not command.startswith("edgeprune ")] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*reaches its final sparsity")  # 256 samples make few steps
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_commands_print_what_the_pages_show_and_their_programs_run(
    page: Path, docs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(docs_folder)
    # Pages show what is printed, not how good it is.
    monkeypatch.setattr("edgeprune.pruning.finetune.MAX_EPOCHS", 3)
    names = readers_names(docs_folder) if page.parent == ROOT else {}
    for fence in blocks(page):
        if fence.language == "console":
            check_console(page.name, fence)
        elif fence.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(fence.text, page.name, "exec"), names)  # noqa: S102


def readers_names(folder: Path) -> dict[str, Any]:
    """What the README takes for given: a model with samples and labels."""
    import keras

    with np.load(folder / "data.npz") as data:
        x, y = data["x"] / np.float32(127.5) - 1, data["y"]
    return {"model": keras.models.load_model(folder / "model.keras"), "x": x, "y": y}


def check_console(page: str, fence: Fence) -> None:
    for shown in shown_commands(fence):
        arguments = shlex.split(shown.command, comments=True)[1:]
        done = CliRunner(env={"COLUMNS": COLUMNS}).invoke(cli, arguments)
        said = f"{page}:{shown.line}: {shown.command}\n{done.output}"
        assert done.exit_code == 0, said
        assert missing_lines(shown.printed, done.output) == [], said


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.docs_folder import make_folder

    folder = tmp_path_factory.mktemp("docs")
    make_folder(folder)
    return folder


@pytest.fixture
def docs_folder(made_folder: Path, tmp_path: Path) -> Path:
    """A folder with the files that pages work with, for one page alone."""
    for path in made_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        (["a 1.25x b"], []),
        (["│a │ 7 x │"], ["│a │ 7 x │"]),
        (["second", "a 2x b"], ["a 2x b"]),
        (["a 2x", "...", "second line"], []),
        (["third"], ["third"]),
    ],
)
def test_lines_are_compared_in_order_with_other_numbers_and_drawings(
    expected: list[str], missing: list[str]
) -> None:
    assert missing_lines(expected, "┃ a   3,000x b ┃\nthe second line") == missing


def test_a_command_goes_on_behind_a_backslash_and_prints_up_to_the_next() -> None:
    [fence] = fences("text\n```console\n$ one \\\n    two\nprinted\n\n$ three\n```\n")
    first, second = shown_commands(fence)
    assert (fence.line, first.command, first.printed) == (2, "one two", ("printed",))
    assert (second.command, second.printed) == ("three", ())


def loaded_script(name: str) -> ModuleType:
    loader = SourceFileLoader(name.removesuffix(".py"), str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    return loaded_script("docs_hooks.py")


def test_the_readme_is_short_and_its_first_screen_has_what_a_stranger_needs() -> None:
    lines = read("README.md").splitlines()
    assert len(lines) < 200
    first = "\n".join(lines[:35])
    for part in (
        "pip install .",
        "bash scripts/demo",
        "bash scripts/test",
        "$ edgeprune",
        "](docs/",
    ):
        assert part in first


def readme_rows() -> dict[str, list[str]]:
    """The cells of the README's table of devices but the names, by profile."""
    rows = re.findall(r"^\| .+ \| `(\w[\w-]+)` \| (.+) \|$", read("README.md"), re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in rows}


def test_every_device_is_in_the_readme() -> None:
    assert set(readme_rows()) == set(profile_names())


def test_gains_in_the_readme_are_those_of_the_profiles() -> None:
    for name, (_, over_float, over_int8) in readme_rows().items():
        profile = load_profile(name)
        gain = profile.offered[0].gain
        if gain is None:
            continue
        own = over_float if profile.numerics == "float32" else over_int8
        assert own.startswith(f"{gain.factor:.2f}x"), name
        beside = re.search(r"against dense float32: ([\d.]+x)", gain.on)
        assert beside is None or over_float.startswith(beside[1]), name


def test_numbers_of_the_readme_stand_in_the_measurements_or_in_a_profile() -> None:
    gains = [route.gain for each in shipped_profiles() for route in each.offered if route.gain]
    known = read("docs/measurements.md") + "".join(f"{gain.factor:.2f}x {gain}" for gain in gains)
    prose = re.sub(r"^```.*?^```", "", read("README.md"), flags=re.MULTILINE | re.DOTALL)
    numbers = set(re.findall(r"(\d+\.\d+x)|(\d+\.\d+) M|(\d+ → \d+)", prose))
    spelled = {"".join(each).replace(" → ", " to ") for each in numbers}
    assert len(spelled) > 4
    assert {each for each in spelled if each not in known} == set()


def test_the_picture_is_that_of_the_table() -> None:
    drawn = loaded_script("draw_routes").picture(read("docs/measurements.md"))
    assert drawn == read("docs/routes.svg")
    assert "31.8 M, 6.1x less" in drawn


def test_every_device_has_a_page_with_its_routes_limits_sources_and_products(
    hooks: ModuleType,
) -> None:
    pages = dict(hooks.pages(shipped_profiles()))
    assert set(pages) == {f"devices/{name}.md" for name in (*profile_names(), "index")}
    for name in profile_names():
        page, profile = pages[f"devices/{name}.md"], load_profile(name)
        names = {route.name for route in profile.offered} | {each.name for each in profile.hardware}
        assert {each for each in names if hooks.text(each) not in page} == set()
        sources = {rule.source for route in profile.offered for rule in route.rules}
        assert {each for each in sources if hooks.text(each) not in page} == set()
        assert f"({name}.md)" in pages["devices/index.md"]
        for verb in ("plan", "compare", "snippet"):
            assert re.search(rf"^edgeprune {verb} .*--devices? {name}\b", page, re.MULTILINE)


def test_text_of_a_profile_is_shown_as_it_is_in_a_cell(hooks: ModuleType) -> None:
    assert hooks.text("a|b <c> STM32F7* x_y.\nz") == r"a&#124;b &lt;c> STM32F7\* x\_y. z"
    assert hooks.table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_the_reference_has_every_name_of_the_package() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^::: edgeprune\.(\w+)$", page, re.MULTILINE)) == set(edgeprune.__all__)


def test_the_citation_is_of_this_version() -> None:
    version = re.search(r"^version = \"(.+)\"$", read("pyproject.toml"), re.MULTILINE)
    assert version is not None
    assert f"\nversion: {version[1]}\n" in read("CITATION.cff")


def test_the_changelog_keeps_its_form() -> None:
    titles = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    released = r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d"
    assert titles[0] == "[Unreleased]"
    assert [title for title in titles[1:] if not re.fullmatch(released, title)] == []
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for part in read("CHANGELOG.md").split("\n## ")[1:]:
        found = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert set(found) <= kinds
        assert len(found) == len(set(found))


def test_links_between_pages_lead_to_files_and_headings() -> None:
    broken = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if not link.startswith(("http", "devices/")) and not is_there(page, link)
    ]
    assert broken == []


def is_there(page: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    path = page.parent / name if name else page
    if not path.exists() or not heading:
        return path.exists()
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return heading in {re.sub(r"[^\w-]+", "-", title.lower()).strip("-") for title in titles}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")

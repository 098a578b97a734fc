"""Profiles that people write: copied with a comment for every key, checked, and explained."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import ProfileError
from edgeprune.core.pattern import Channels
from edgeprune.profiles.check_profile import check_profile
from edgeprune.profiles.folder import profile_folder, profile_names
from edgeprune.profiles.profile import DeviceProfile, load_profile
from edgeprune.profiles.schema_keys import keys_of
from edgeprune.profiles.toml_lines import key_lines, line_of
from edgeprune.profiles.write_profile import to_toml
from tests.cli.test_devices_command import check_refused, run
from tests.support.profile_page import page_table, tables
from tests.support.profiles import profile, rule, strategy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = profile_folder().parent / "docs" / "profiles.md"


def read(text: str) -> DeviceProfile:
    return DeviceProfile.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_that_is_written_is_read_back_as_an_equal_one(name: str) -> None:
    assert read(to_toml(load_profile(name))) == load_profile(name)


@given(st.text(min_size=1), st.floats(0, 0.99), st.lists(st.sampled_from(["latency", "flash"])))
def test_any_text_and_number_survives(text: str, sparsity: float, goals: list[str]) -> None:
    made = profile(
        device=text,
        facts=({"text": text, "source": text},),
        strategies=(strategy(goals=tuple(dict.fromkeys(goals)), sparsity=sparsity),),
    )
    assert read(to_toml(made, "An introduction.")) == made


def test_every_key_has_a_comment_with_its_meaning() -> None:
    made = profile(rule(Channels(8)), facts=({"text": "a", "source": "b"},))
    written = " ".join(to_toml(made).replace("#", " ").split())
    for key in keys_of(DeviceProfile):
        assert key.meaning in written, key.name
    assert "min_outputs: Fewest rows of the device matrix" in written
    assert all(len(line) <= 100 for line in to_toml(made).splitlines() if line.startswith("#"))


def test_every_key_of_the_schema_has_a_meaning() -> None:
    for path, table in tables():
        assert all(key.meaning.endswith(".") for key in keys_of(table)), path


def test_the_page_explains_every_key_in_the_words_of_the_schema() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for path, table in tables():
        heading = f"`{path}`" if path else "The file"
        assert f"### {heading}\n" in page
        assert page_table(table) in page, page_table(table)
    headings = re.findall(r"^### (.*)$", page, re.MULTILINE)
    assert len(headings) == len(list(tables()))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "My Board.toml"
    assert run("devices", "copy", "edge-tpu", "-o", path).exit_code == 0
    return path


def test_a_copy_has_a_name_of_its_own_and_is_good(mine: Path) -> None:
    copied = load_profile(mine)
    assert copied.name == "my-board"
    assert copied.model_copy(update={"name": "edge-tpu"}) == load_profile("edge-tpu")
    done = run("devices", "check", mine)
    assert done.exit_code == 0
    assert "good. Device 'my-board'" in done.stdout
    content = json.loads(run("devices", "check", mine, "--json").stdout)
    assert content["ok"] is True
    assert content["device"] == "my-board"
    assert content["problems"] == []
    assert any("flash_bytes" in remark for remark in content["remarks"])


def test_a_product_is_copied_by_its_name(tmp_path: Path) -> None:
    done = run("devices", "copy", "pixel", "8", "-o", tmp_path / "xnnpack-arm64.toml")
    assert done.exit_code == 0
    assert "'pixel 8' is taken as android-phone-2023" in done.stderr
    assert load_profile(tmp_path / "xnnpack-arm64.toml").name == "xnnpack-arm64-own"


def test_a_copy_of_nothing_or_to_nowhere_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    check_refused(run("devices", "copy", "esp32", "-o", tmp_path / "a.toml"), "Unknown device")
    check_refused(run("devices", "copy", "edge-tpu", "-o", tmp_path / "a.txt"), "ends in .toml")
    check_refused(run("devices", "copy", "edge-tpu", "-o", tmp_path / "b" / "a.toml"), "mkdir -p")
    check_refused(run("devices", "copy", "-o", tmp_path / "a.toml"), "NAME")
    assert list(tmp_path.iterdir()) == []


def broken(path: Path, old: str, new: str) -> int:
    """Replaces the first line that begins so in a file; returns the number of that line."""
    lines = path.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if line.strip().startswith(old))
    lines[number] = lines[number].replace(old, new, 1)
    path.write_text("\n".join(lines))
    return number + 1


@pytest.mark.parametrize(
    ("old", "new", "key", "expected", "received"),
    [
        ('numerics = "int8"', 'numerics = "int9"', "numerics", "'float32', 'fl", "'int9'"),
        ("default_sparsity = 0.5", "default_sparsity = 1.5", "strategies.0.default_sparsity",
         "less than 1", "1.5"),
        ('pattern = "Channels(16)"', 'pattern = "Channels(x)"', "strategies.0.rules.0.pattern",
         "Expected Channels(multiple)", "'Channels(x)'"),
        ("min_outputs = 65", "min_outputz = 65", "strategies.1.rules.0.min_outputz",
         "one of the keys kinds", "65"),
        ("flash_bytes = { value", "flash_bytes = { valu", "limits.flash_bytes.value",
         "this key", None),
        ('{ name = "Coral Dev Board Mini", kind = "accelerator"',
         '{ name = "Coral Dev Board Mini", kind = "phon"', "hardware.1.kind", "'phone'", "'phon'"),
        ("{ multiple = 64 }", "{ multiple = 0 }", "channel_cost.stored_outputs.2.multiple",
         "greater than or equal to 1", "0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_key_line_expectation_and_what_was_received(
    mine: Path, old: str, new: str, key: str, expected: str, received: str | None
) -> None:
    line = broken(mine, old, new)
    first = next(p for p in check_profile(mine).problems if p.key == key)
    assert (first.line, first.received) == (line, received)
    assert first.expected.startswith(expected)
    done = run("devices", "check", mine)
    check_refused(done, f"{mine}: line {line}: ", f"'{key}'")
    content = json.loads(run("devices", "check", mine, "--json").stdout)
    assert content["ok"] is False
    assert content["error"]["kind"] == "ProfileError"
    assert key in content["error"]["message"]
    assert key in [problem["key"] for problem in content["problems"]]


def test_a_missing_key_is_looked_for_where_its_table_is(mine: Path) -> None:
    line = broken(mine, "[limits]", "[limits]")
    broken(mine, "arena_bytes =", "# arena_bytes =")
    (problem,) = check_profile(mine).problems
    assert (problem.key, problem.line, problem.received) == ("limits.arena_bytes", line, None)


def test_a_cost_table_that_is_not_there_is_a_problem(mine: Path) -> None:
    line = broken(mine, "left_alone =", 'costs = "nowhere"\nleft_alone =')
    (problem,) = check_profile(mine).problems
    assert (problem.key, problem.line, problem.received) == ("costs", line, "'nowhere'")


@pytest.mark.parametrize("text", ["a = [", "a = 1\na = 2\n", "\x00"])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"bad\.toml: expected TOML"):
        check_profile(path)
    check_refused(run("devices", "check", path), "expected TOML")
    check_refused(run("devices", "check", tmp_path / "gone.toml"), "gone.toml", "cannot read")


def test_a_profile_that_is_called_as_a_shipped_one_or_wants_an_unknown_runtime_is_remarked(
    mine: Path,
) -> None:
    broken(mine, 'name = "my-board"', 'name = "edge-tpu"')
    broken(mine, 'version = "2.14.0"', 'version = "9.9"')
    found = check_profile(mine)
    assert found.ok
    assert any("choose another" in remark for remark in found.remarks)
    assert any("tflite-runtime 9.9" in remark for remark in found.remarks)


TEXT = """\
# [no] header
a = "[x] = 1"  # b = 2
"quoted key" = 3
long = '''
[not.a.header]
c = 1
'''
list = [
  # a comment, [with] brackets
  { x = 1, y = [1, 2] },
  "},]", { x = 2 },
]
[t.u]
d.e = 1
[[many]]
f = 1
  [[many.inner]]
  g = 1
  [[many.inner]]
  g = 2
[[many]]
  [many.single]
  h = 1
"""


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (("a",), 2),
        (("quoted key",), 3),
        (("long",), 4),
        (("list",), 8),
        (("list", 0, "x"), 10),
        (("list", 1), 11),
        (("list", 2, "x"), 11),
        (("t", "u"), 13),
        (("t", "u", "d", "e"), 14),
        (("many", 0, "f"), 16),
        (("many", 0, "inner", 1, "g"), 20),
        (("many", 1), 21),
        (("many", 1, "single", "h"), 23),
        (("many", 1, "single", "missing"), 22),
        (("missing",), None),
        ((), None),
    ],
)
def test_the_line_of_a_key_is_found(location: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(TEXT, location) == line


def test_what_is_inside_texts_and_comments_is_no_key() -> None:
    tomllib.loads(TEXT)
    names = {location[0] for location in key_lines(TEXT)}
    assert names == {"a", "quoted key", "long", "list", "t", "many"}

"""Completion in a real shell: devices, products, instruments and files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.cli.completion import typed_names
from edgeprune.core.errors import ProfileError
from edgeprune.profiles.folder import product_names, profile_names
from edgeprune.profiles.matching import best_profile, find
from edgeprune.profiles.profile import listed_products, shipped_profiles

ROOT = Path(__file__).parents[2]
LISTED = listed_products(shipped_profiles())


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The program `edgeprune`, as the package's installation makes it."""
    path = tmp_path / "bin" / "edgeprune"
    path.parent.mkdir()
    path.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from edgeprune.cli import main\n"
        "sys.argv[0] = 'edgeprune'\n"
        "main()\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def environment(program: Path) -> dict[str, str]:
    return {
        "PATH": f"{program.parent}:/usr/bin:/bin",
        "PYTHONPATH": ":".join([str(ROOT), *sys.path]),
    }


def in_bash(script: str, environment: dict[str, str]) -> list[str]:
    command = [shutil.which("bash") or "bash", "--norc", "-euc", script]
    done = subprocess.run(
        command, env=environment, timeout=120, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def completed(line: str, environment: dict[str, str]) -> list[str]:
    """What bash puts behind the cursor at the end of a line."""
    words = line.split(" ")
    script = (
        'eval "$(_EDGEPRUNE_COMPLETE=bash_source edgeprune)"\n'
        f"COMP_WORDS=({' '.join(map(repr, words))}) COMP_CWORD={len(words) - 1} COMPREPLY=()\n"
        "_edgeprune_completion edgeprune\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return in_bash(script, environment)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("edgeprune de", ["demo", "densify", "devices"]),
        ("edgeprune plan model.keras --device ethos", ["ethos-u55", "ethos-u85"]),
        ("edgeprune plan model.keras --device pixel-9", ["pixel-9", "pixel-9-pro", "pixel-9a"]),
        (
            "edgeprune inspect m.tflite --device Raspberry-Pi-5",
            ["raspberry-pi-5", "raspberry-pi-500"],
        ),
        ("edgeprune compare m.keras --devices edge-tpu,ethos-u5", ["edge-tpu,ethos-u55"]),
        ("edgeprune measure m.tflite --target host,v", ["host,vela"]),
        ("edgeprune targets install arm", ["arm64-emulated"]),
        ("edgeprune plan m.keras --device edge-tpu --route ", ["latency", "memory"]),
        ("edgeprune compare m.keras --devices edge-tpu --routes latency,m", ["latency,memory"]),
        ("edgeprune devices cop", ["copy"]),
        ("edgeprune devices nrf52840", ["nrf52840", "nrf52840-dk"]),
        ("edgeprune devices copy xnn", ["xnnpack-arm64", "xnnpack-x86"]),
        ("edgeprune plan m.keras --goal l", ["latency"]),
    ],
)
def test_bash_completes(line: str, found: list[str], environment: dict[str, str]) -> None:
    assert completed(line, environment) == found


def test_bash_offers_the_profiles_alone_before_anything_is_typed(
    environment: dict[str, str],
) -> None:
    assert completed("edgeprune plan m.keras --device ", environment) == list(profile_names())
    assert completed("edgeprune devices ", environment) == ["copy", "check", *profile_names()]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("edgeprune plan m", 2),
        ("edgeprune plan m.keras --device ./my", 4),
        ("edgeprune plan m.keras --data d", 4),
        ("edgeprune compare m.keras --devices edge-tpu,./my", 4),
        ("edgeprune devices check m", 3),
    ],
)
def test_files_are_left_to_the_shell(line: str, place: int, environment: dict[str, str]) -> None:
    asked = f"COMP_WORDS={line!r} COMP_CWORD={place} _EDGEPRUNE_COMPLETE=bash_complete edgeprune"
    (answer,) = in_bash(asked, environment)
    assert answer.startswith("file,")


def test_an_unknown_command_completes_without_an_error(environment: dict[str, str]) -> None:
    assert "plan" in completed("edgeprune plna ", environment)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(shell: str, environment: dict[str, str]) -> None:
    words = in_bash(f"_EDGEPRUNE_COMPLETE={shell}_source edgeprune", environment)
    assert f"_EDGEPRUNE_COMPLETE={shell}_complete" in words


def test_a_shell_waits_for_no_library_beside_click(environment: dict[str, str]) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sorted({m.partition('.')[0] for m in sys.modules})))\n"
        "from edgeprune.cli import cli\n"
        "cli(prog_name='edgeprune')"
    )
    variables = {
        "COMP_WORDS": "edgeprune plan m.keras --device pixel-8",
        "COMP_CWORD": "4",
        "_EDGEPRUNE_COMPLETE": "bash_complete",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **variables},
        timeout=120,
        capture_output=True,
        text=True,
        check=True,
    )
    *offered, modules = done.stdout.splitlines()
    assert "plain,pixel-8" in offered
    assert "click" in modules.split()
    heavy = {"tensorflow", "keras", "numpy", "pydantic", "rich", "rapidfuzz", "ai_edge_litert"}
    assert heavy & set(modules.split()) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(product_names())))
def test_what_is_offered_for_a_product_means_that_product(name: str) -> None:
    for typed in typed_names(name):
        found = [entry.hardware for entry in find(typed, LISTED)]
        assert any(name in (hardware.name, *hardware.aliases) for hardware in found), typed
        assert best_profile(typed, LISTED, profile_names()) in profile_names()


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("Google Pixel 8", ("google-pixel-8", "pixel-8")),
        ("Samsung Galaxy S24+", ("samsung-galaxy-s24+", "galaxy-s24+")),
        ("PJRC Teensy 4.1", ("pjrc-teensy-4.1", "teensy-4.1")),
        ("Apple MacBook Air (M1)", ("apple-macbook-air-m1", "macbook-air-m1")),
        ("OnePlus 11", ("oneplus-11",)),
        ("SparkFun Edge", ("sparkfun-edge",)),
        ("STM32F7xx", ()),
        ("nRF52840*", ()),
    ],
)
def test_a_product_is_typed_in_one_word_with_its_maker_and_without(
    name: str, typed: tuple[str, ...]
) -> None:
    assert typed_names(name) == typed


def test_a_word_that_means_several_profiles_is_never_offered() -> None:
    offered = {typed for name in product_names() for typed in typed_names(name)}
    assert "laptop" not in offered
    with pytest.raises(ProfileError, match="may mean several"):
        best_profile("laptop", LISTED, profile_names())

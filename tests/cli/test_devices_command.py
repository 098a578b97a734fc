"""`edgeprune devices` and products in the place of a device's name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgeprune.cli import cli
from edgeprune.cli.inputs import read_devices
from edgeprune.profiles.folder import profile_names
from tests.support.tiny_tflite import fully_connected


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def check_refused(done: Result, *said: str) -> None:
    assert done.exit_code == 2, done
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    for text in said:
        assert text in done.stderr.replace("\n", " ")


@pytest.mark.parametrize("words", [["pixel", "8"], ["PIXEL 8"], ["pixel8"]])
def test_words_find_a_product_and_say_what_to_type(words: list[str]) -> None:
    done = run("devices", *words)
    assert done.exit_code == 0
    assert "Google Tensor G3" in done.stdout
    assert "Next: edgeprune plan model.keras --device android-phone-2023" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_document_holds_the_profiles_that_fit_wherever_json_is_asked_for(place: int) -> None:
    words = ["pixel", "8"]
    words.insert(place, "--json")
    content = json.loads(run("devices", *words).stdout)
    assert [entry["name"] for entry in content] == [
        "android-phone-2023",
        "xnnpack-arm64",
        "arm-neon-int8",
    ]
    assert [product["name"] for product in content[0]["hardware"]] == ["Google Pixel 8"]
    assert content[0]["hardware"][0]["source"]


def test_without_words_all_profiles_and_their_products_are_in_the_document() -> None:
    content = json.loads(run("devices", "--json").stdout)
    assert [entry["name"] for entry in content] == list(profile_names())
    assert all(entry["hardware"] for entry in content)


def test_a_typing_error_is_forgiven_and_said() -> None:
    done = run("devices", "rasberry", "pi", "5")
    assert done.exit_code == 0
    assert "Read as 'raspberry pi 5'." in done.stderr


def test_what_no_profile_knows_is_refused_with_a_way_on() -> None:
    done = run("devices", "pixel", "80")
    check_refused(done, "Closest: Google Pixel 8,", "edgeprune devices copy NAME -o my.toml")
    done = run("devices", "pixel", "80", "--json")
    assert done.exit_code == 2
    assert "Closest: Google Pixel 8," in json.loads(done.stdout)["error"]["message"]


def test_help_is_that_of_the_command() -> None:
    for arguments in (["--help"], ["-h"]):
        done = run("devices", *arguments)
        assert done.exit_code == 0
        assert "[WORDS]..." in done.stdout
        assert "search" not in done.stdout


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    fully_connected(tmp_path / "m.tflite", np.eye(64))
    return tmp_path / "m.tflite"


def test_a_product_is_taken_for_a_device_and_it_is_said_as_which(dense: Path) -> None:
    done = run("inspect", dense, "--device", "Raspberry Pi 5", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["device"] == "raspberry-pi-5"
    said = "'Raspberry Pi 5' is taken as raspberry-pi-5: Raspberry Pi 5 (Broadcom BCM2712)."
    assert said in done.stderr.replace("\n", " ")


def test_a_profiles_own_name_goes_without_saying(dense: Path) -> None:
    done = run("inspect", dense, "--device", "xnnpack-arm64")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_word_for_many_products_names_a_few(dense: Path) -> None:
    done = run("encode", dense, "--device", "iphone", "-o", dense.with_name("out.tflite"))
    assert done.exit_code == 0
    said = done.stderr.replace("\n", " ")
    assert "'iphone' is taken as xnnpack-arm64: iPhone 11 (" in said
    assert " more." in said


@pytest.mark.parametrize(
    ("command", "device", "said"),
    [
        ("inspect m.tflite", "pixel 80", "Unknown device 'pixel 80'"),
        ("inspect m.tflite", "", "Unknown device ''"),
        ("inspect m.tflite", "raspberry pi", "may mean several devices"),
        ("inspect m.tflite", "android", "android-phone (Google Pixel 4), android-phone-2023"),
        ("encode m.tflite -o o.tflite", "pixel 6 8", "Unknown device"),
        ("validate m.tflite", "esp32", "Unknown device 'esp32'"),
        ("measure m.tflite", "esp32", "devices copy cortex-m-tflm -o my.toml"),
        ("plan m.keras", "esp32", "Unknown device 'esp32'"),
        ("prune m.keras -o o.keras", "esp32", "Unknown device 'esp32'"),
        ("export m.keras -o o.tflite", "esp32", "Unknown device 'esp32'"),
    ],
)
def test_no_command_guesses_a_device(command: str, device: str, said: str) -> None:
    check_refused(run(*command.split(), "--device", device), said)


def test_compare_takes_products_too() -> None:
    done = run("compare", "m.keras", "--devices", "pixel 8,esp32", "--data", "d.npz", "-o", "o")
    check_refused(done, "'pixel 8' is taken as android-phone-2023", "Unknown device 'esp32'")


def test_two_products_of_one_profile_are_compared_once(capsys: pytest.CaptureFixture[str]) -> None:
    profiles = read_devices(["pixel 8", "galaxy s24", "nrf52840"])
    assert [profile.name for profile in profiles] == ["android-phone-2023", "cortex-m-tflm"]
    assert "'galaxy s24' is android-phone-2023 too: compared once." in capsys.readouterr().err

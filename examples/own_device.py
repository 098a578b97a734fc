"""A device that edgeprune does not know: a copy of a profile, changed, checked and used.

    python examples/own_device.py

The board has 48 KiB of flash for the model and 16 KiB of RAM for its arena. A network that does not
fit loses channels until it does, and the file is held against the limits.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import edgeprune

FLASH, ARENA = 48 * 1024, 16 * 1024


def main() -> None:
    """Makes the profile, and prunes a network until it fits."""
    profile = Path("my-board.toml")
    profile.unlink(missing_ok=True)
    run(f"edgeprune devices copy cortex-m-tflm -o {profile}")

    # What an editor would do: every key stands there with a comment that explains it.
    text = profile.read_text(encoding="utf-8")
    text = set_key(text, "device", '"my board, a Cortex-M4 with 256 KiB of flash"')
    source = "the board's data sheet, less what the application takes"
    text = set_key(text, "flash_bytes", f'{{ value = {FLASH}, source = "{source}" }}')
    text = set_key(text, "arena_bytes", f'{{ value = {ARENA}, source = "{source}" }}')
    profile.write_text(text, encoding="utf-8")
    run(f"edgeprune devices check {profile}")

    # Its path stands wherever a device's name may stand, in Python too.
    network().save("model.keras")
    np.savez("samples.npz", x=np.random.default_rng(0).normal(size=(64, 32, 32, 3)).astype("f4"))
    run(f"edgeprune prune model.keras --device {profile} --fit --data samples.npz -o pruned.keras")
    run(f"edgeprune export pruned.keras --device {profile} --data samples.npz -o model.tflite")
    print(edgeprune.validate("model.tflite", profile, reference="pruned.keras"))


def set_key(text: str, key: str, value: str) -> str:
    """A profile with another value for a key that occurs in it once."""
    changed, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
    if count != 1:
        raise SystemExit(f"The profile has the key {key} {count} times; 1 was expected.")
    return changed


def network() -> keras.Model:
    """A small network that the board has no room for."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = image = keras.Input((32, 32, 3), name="image")
    for channels in (32, 64, 64):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10)(x))


def run(command: str) -> None:
    """Shows a command and runs it."""
    print(f"\n$ {command}", flush=True)
    subprocess.run([sys.executable, "-m", *shlex.split(command)], check=True)


if __name__ == "__main__":
    main()

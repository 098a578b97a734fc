"""The commands that make a point of a search again, as a shell reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.core.scaling import ChannelScale, Scale
from edgeprune.profiles.folder import profile_folder
from edgeprune.pruning.training.distill import Distillation
from edgeprune.pruning.training.settings import Training
from edgeprune.searching.candidate import Candidate
from edgeprune.searching.command import Typed, scale_words, training_words, written_devices
from tests.support.pretended_search import route_space

TYPED = Typed(
    "my model.keras",
    "data.npz",
    samples=("--scale", "0,255"),
    prune=("--samples", "64"),
    training=("--loss", "mse"),
)


def test_a_pruned_int8_file_needs_data_twice_and_names_are_quoted() -> None:
    candidate = Candidate("phone", "int8-channels", cost=0.42)
    assert TYPED.command(candidate, route_space("int8-channels", "int8", (0.42,))) == (
        "edgeprune prune 'my model.keras' --device phone --route int8-channels --cost 0.42 "
        "--padding keep --samples 64 --data data.npz --scale 0,255 -o OUT.keras && "
        "edgeprune export OUT.keras --device phone --data data.npz --scale 0,255 -o OUT.tflite"
    )


def test_a_trained_file_takes_the_options_of_training_and_its_own_ranges() -> None:
    candidate = Candidate(
        "phone", "sparse", sparsity=0.8, epochs=4, activation="hard-swish", padding="symmetric"
    )
    assert TYPED.command(candidate, route_space("sparse", "float32", (0.8,))) == (
        "edgeprune prune 'my model.keras' --device phone --route sparse --sparsity 0.8 --epochs 4 "
        "--activation hard-swish --padding symmetric --samples 64 --loss mse --data data.npz "
        "--scale 0,255 -o OUT.keras && edgeprune export OUT.keras --device phone --data data.npz "
        "--scale 0,255 -o OUT.tflite"
    )


def test_a_dense_file_is_only_exported() -> None:
    assert TYPED.command(Candidate("phone", "float32"), route_space("float32", "float32")) == (
        "edgeprune export 'my model.keras' --device phone --route float32 --data data.npz "
        "--scale 0,255 -o OUT.tflite"
    )


def test_a_tflite_file_is_pruned_into_another_one_that_is_exported() -> None:
    typed = Typed("m.tflite", "data.npz")
    candidate = Candidate("phone", "int8-channels", cost=0.42)
    assert typed.command(candidate, route_space("int8-channels", "int8", (0.42,))) == (
        "edgeprune prune m.tflite --device phone --route int8-channels --cost 0.42 --padding keep "
        "--data data.npz -o PRUNED.tflite && edgeprune export PRUNED.tflite --device phone "
        "--data data.npz -o OUT.tflite"
    )


def test_every_command_knows_the_layers_the_runtime_and_the_path_of_the_device() -> None:
    typed = Typed(
        "m.keras",
        "data.npz",
        objects=("--custom-objects", "mine.py"),
        runtime=("--runtime", "LiteRT==2.1.6"),
        devices={"phone": "boards/phone.toml"},
    )
    same = "--custom-objects mine.py --device boards/phone.toml --runtime LiteRT==2.1.6 "
    data = "--data data.npz "
    dense = typed.command(Candidate("phone", "float32"), route_space("float32", "float32"))
    assert dense == f"edgeprune export m.keras {same}--route float32 {data}-o OUT.tflite"
    candidate = Candidate("phone", "sparse", sparsity=0.8)
    assert typed.command(candidate, route_space("sparse", "float32", (0.8,))) == (
        f"edgeprune prune m.keras {same}--route sparse --sparsity 0.8 --padding keep {data}"
        f"-o OUT.keras && edgeprune export OUT.keras {same}{data}-o OUT.tflite"
    )


def test_samples_that_files_were_judged_by_are_left_out_again() -> None:
    typed = Typed("m.keras", "data.npz", held_out=True)
    candidate = Candidate("phone", "sparse", sparsity=0.8)
    made = typed.command(candidate, route_space("sparse", "float32", (0.8,)))
    assert made.count("--data data.npz --hold-out") == 2
    without = replace(typed, data="").command(candidate, route_space("sparse", "float32", (0.8,)))
    assert "--hold-out" not in without


def test_training_is_told_by_what_is_not_its_default() -> None:
    usual = Training(epochs=4)
    assert training_words(usual) == ()
    how = Training(
        epochs=4,
        augment="flip-shift",
        quantize_aware=False,
        learning_rate=1e-4,
        distillation=Distillation(0.25),
        validation=0.1,
        seed=7,
    )
    assert " ".join(training_words(how)) == (
        "--no-quantize-aware --augment flip-shift --learning-rate 0.0001 --seed 7 --distill 0.25 "
        "--validation 0.1"
    )


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("auto", ()),
        ((127.5, 57.37512345), ("--scale", "127.5,57.37512345")),
        (
            ChannelScale((1.0, 2.0, 3.0), (1.0, 1.0, 1.0), name="keras.applications.resnet50"),
            ("--preprocess", "keras.applications.resnet50"),
        ),
    ],
)
def test_the_scale_is_told_in_full(scale: Scale, words: tuple[str, ...]) -> None:
    assert scale_words(scale) == words


def test_a_profile_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "desk.toml"
    text = (profile_folder() / "edge-tpu.toml").read_text(encoding="utf-8")
    path.write_text(text.replace('name = "edge-tpu"', 'name = "desk"'), encoding="utf-8")
    assert written_devices(["pixel 8", "edge-tpu", path]) == {"desk": str(path)}


def test_a_signature_is_chosen_of_the_folder_and_of_nothing_else(tmp_path: Path) -> None:
    folder = str(tmp_path)
    typed = Typed(folder, "data.npz", signature=("--signature", "classes"))
    candidate = Candidate("phone", "int8-channels", cost=0.42)
    made, exported = typed.command(candidate, route_space("int8-channels", "int8", (0.42,))).split(
        " && "
    )
    assert made.startswith(f"edgeprune prune {folder} --signature classes --device phone")
    assert made.endswith("-o PRUNED.tflite")
    assert "--signature" not in exported

"""The commands that make a point of a search again, as a shell reads them."""

from __future__ import annotations

from pathlib import Path

from edgeprune.searching.candidate import Candidate
from edgeprune.searching.command import Typed
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
        "--scale 0,255 -o OUT.keras && edgeprune export OUT.keras --device phone -o OUT.tflite"
    )


def test_a_dense_file_is_only_exported() -> None:
    assert TYPED.command(Candidate("phone", "float32"), route_space("float32", "float32")) == (
        "edgeprune export 'my model.keras' --device phone --route float32 -o OUT.tflite"
    )


def test_a_tflite_file_is_pruned_into_another_one_that_is_exported() -> None:
    typed = Typed("m.tflite", "data.npz")
    candidate = Candidate("phone", "int8-channels", cost=0.42)
    assert typed.command(candidate, route_space("int8-channels", "int8", (0.42,))) == (
        "edgeprune prune m.tflite --device phone --route int8-channels --cost 0.42 --padding keep "
        "--data data.npz -o PRUNED.tflite && edgeprune export PRUNED.tflite --device phone "
        "--data data.npz -o OUT.tflite"
    )


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

"""What a person sees of training while it runs."""

from __future__ import annotations

from edgeprune.pruning.training.best_epoch import ProgressCallback


def test_compiling_the_first_step_is_said_and_steps_are_counted_over_all_epochs() -> None:
    told: list[tuple[str, int, int]] = []
    callback = ProgressCallback(
        lambda what, done, total: told.append((what, done, total)), epochs=3, steps=4, first=1
    )
    callback.on_train_begin()
    callback.on_epoch_begin(1)
    callback.on_train_batch_end(0, {"loss": 0.5})
    callback.on_train_batch_end(7)  # Keras counts steps that it ran at once as full
    assert told == [
        ("compiling the training step", 4, 12),
        ("training, epoch 2 of 3, loss 0.500", 5, 12),
        ("training, epoch 2 of 3", 8, 12),
    ]

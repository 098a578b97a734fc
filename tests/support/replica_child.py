"""Trains on two logical CPU devices; prints what the replicas hold, as JSON.

A program of its own, since the devices must be there before TensorFlow starts.
"""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import tensorflow as tf


def main() -> None:
    """Runs one training of the kind that the arguments name: its start, and "aware" for int8."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from edgeprune.conversion.trained_ranges import ranges_of
    from edgeprune.pruning.carry_out import train_pruned
    from edgeprune.pruning.training.wrapper import wrappers
    from tests.pruning.training.test_train import data, net, rows, sparsities

    seen: dict[str, object] = {"masks_equal": [], "kernels_equal": [], "loss": []}

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            del epoch
            for wrapper in wrappers(self.model):
                for entry in wrapper.masked_kernels:
                    for name, variable in (("masks", entry.mask), ("kernels", entry.kernel)):
                        copies = [copy.numpy() for copy in variable.value.values]
                        same = len(copies) == 2 and np.array_equal(*copies)
                        seen[f"{name}_equal"].append(bool(same))  # type: ignore[attr-defined]
            seen["loss"].append(float((logs or {})["loss"]))  # type: ignore[attr-defined]

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    seen["replicas"] = strategy.num_replicas_in_sync
    with strategy.scope():
        model = net()
        numerics = "int8" if "aware" in sys.argv else "float32"
        trained = train_pruned(
            model,
            rows(model).model_copy(update={"numerics": numerics}),
            data(),
            epochs=4,
            batch_size=16,
            augment="flip-shift",
            start=sys.argv[1],
            validation=0.25,
            callbacks=[Watch()],
        )
    seen["ranges"] = ranges_of(trained) is not None
    seen["sparsities"] = sparsities(trained)
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()

"""Trains a network for int8 with TensorFlow Model Optimization; for scripts/bench_int8.

    python tfmot_int8.py FOLDER QAT|PQAT|PCQAT 0|0.5|0.8|2:4 EPOCHS SEED OUT.tflite

Runs in an environment of its own, with tf_keras (Keras 2) and without edgeprune. FOLDER holds what
bench_int8 wrote: network.json, weights.npz, train.npz. QAT quantizes while it trains. PQAT prunes
in the first half of the steps, then keeps the zeros while it quantizes. PCQAT prunes in the first
half, clusters the kernels to 16 values in a quarter, keeping the zeros, and quantizes in the last
quarter, keeping both. The file takes and gives int8, with a batch of 1.
"""

import sys
from pathlib import Path

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster
from tfmot_accuracy import batches, build, fit, prune

QUANTIZED_RATE = 1e-4
"""Peak learning rate of clustering and of quantization, which go on from trained weights.

PQAT of 2:4 in one epoch of 10,000 images: 76.9 % with it, 74.7 % with the 1e-3 of pruning."""
CLUSTERS = 16


def clustered(model, data, steps):
    """The network with few values per kernel, its zeros kept, stripped."""
    options = {
        "number_of_clusters": CLUSTERS,
        "cluster_centroids_init": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        "preserve_sparsity": True,
    }

    def wrapped(layer):
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if depthwise or not isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            return layer
        return cluster.cluster_weights(layer, **options)

    wrapped_model = keras.models.clone_model(model, clone_function=wrapped)
    fit(wrapped_model, data, steps, QUANTIZED_RATE)
    return tfmot.clustering.keras.strip_clustering(wrapped_model)


def quantized(model, kind, data, steps):
    """The network with fake quantization, trained; what `kind` says is kept."""
    quantize = tfmot.quantization.keras
    schemes = tfmot.experimental.combine
    scheme = {
        "QAT": lambda: None,
        "PQAT": schemes.Default8BitPrunePreserveQuantizeScheme,
        "PCQAT": lambda: schemes.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True),
    }[kind]()
    annotated = quantize.quantize_annotate_model(model)
    ready = quantize.quantize_apply(annotated, *([scheme] if scheme else []))
    fit(ready, data, steps, QUANTIZED_RATE)
    return ready


def convert(model):
    """The int8 file, with a batch of 1."""
    shape = (1, *model.inputs[0].shape[1:])
    serve = tf.function(lambda x: model(x, training=False))
    concrete = serve.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main():
    """Trains and writes the file."""
    folder, kind, wanted = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    epochs, seed, output = int(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[6])
    keras.utils.set_random_seed(seed)
    data = batches(folder)
    steps = epochs * len(data)
    model = build(folder)
    if kind != "QAT":
        model = prune(model, wanted, data, steps // 2)
        steps -= steps // 2
    if kind == "PCQAT":
        model = clustered(model, data, steps // 2)
        steps -= steps // 2
    output.write_bytes(convert(quantized(model, kind, data, steps)))


if __name__ == "__main__":
    main()

"""Mends a quantized file that a pruned network was written into, by samples.

groups   which activations may get another scale, and which only together
watch    what the pruned network's values are on the samples
propose  ranges that are worth a try
rescale  a file with other ranges
layers   the layers of a file that are mended, and new weights and biases for them
choose   parts of a change that bring outputs nearer
worker   the child process that tries them
run      brings all of it together
"""

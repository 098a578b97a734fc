"""Pruning from samples without labels: layer-wise reconstruction of the dense model's outputs.

graph       the calls of a Keras model, in order
store       activations until their last use, in memory or on disk
run         the dense model and its copy side by side
columns     what a layer's device matrix is multiplied with
gram        gram matrices of columns, whole or factored
statistics  sums over positions, and the least-squares problem they state
solve       mask and weights of one layer
norm        batch normalisation whose input changed
walk        all of it, layer by layer
"""

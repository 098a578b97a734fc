"""Pruning from samples without labels: layer-wise reconstruction of the dense model's outputs.

samples     the samples to calibrate on, with shifted copies of images
recording   the inputs of a layer, wherever it is called
store       activations until their last use, in memory or on disk
run         the dense model and its copy side by side
columns     a layer's inputs as the columns that its device matrix is multiplied with
gram        Gram matrices of columns, whole or factored
statistics  sums over positions, and the least-squares problem that they define
admm        masks of one layer, for one sparsity or along rising ones
refit       the weights that a mask keeps, by least squares
solve       mask and weights of one layer
norm        correction of batch normalisation whose input changed
walk        the whole reconstruction, layer by layer
"""

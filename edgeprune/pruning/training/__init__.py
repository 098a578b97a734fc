"""Training with masks that follow a sparsity schedule."""

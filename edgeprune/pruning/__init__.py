"""Pruning: carries out a plan on a Keras model, in one shot or while it trains."""

"""Frozen values that every room shares, on NumPy alone: patterns, masks, plans, files."""

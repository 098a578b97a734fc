"""Frozen values that all other subpackages share, on NumPy alone: patterns, masks, plans, files."""

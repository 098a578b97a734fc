"""Training with masks that follow a schedule."""

"""What the runner does, over its ports."""

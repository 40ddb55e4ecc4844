"""Training: recipes of the networks, settings, batches, loop, checkpoints, validation, curves."""

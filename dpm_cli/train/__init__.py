"""Training of the mini network: settings, batches, loop, checkpoints, validation, curves."""

"""Passes: which pairs of frames are predicted, the prediction itself, what is kept of it and how it is fused."""

"""Depth priors: what single images say of depth, as one more witness with an uncertainty of its own.

source (MoGe-2, or the user's folder) -> one `PriorEstimate` a frame, kept in the work folder
-> aligned with what parallax knows, which also says how far it is to be believed -> combined with the run's depth
"""

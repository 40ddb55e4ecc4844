"""The focal length of a clip: one type, and everything that decides it, in the order in which a run asks.

    given      the user said it: --fov or --intrinsics; nothing changes it
    clip       the clip's own geometry, before any pair is predicted
    network    a predictor's guess, asked only where the clip's geometry is vague
    passes     what the point maps of all passes say together (fitted to each by `geometry.focal`)
    flows      what the bundle adjustment makes of it

`FocalEstimate` is carried through all of these; a run's notes and its manifest say the last one.
"""

from dpm_cli.focal.estimate import FocalEstimate

__all__ = ["FocalEstimate"]

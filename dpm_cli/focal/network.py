"""A network's guess of the focal length: its median over a few pairs of the clip."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dpm_cli.focal.estimate import FocalEstimate
from dpm_cli.structures import Clip

SIGMA_LOG = 0.25
"""Deviation of log focal length that dpm-mini's guess counts with; chosen on validation scenes (its own error there:
0.28)."""
_PAIRS = 8
_STRIDE = 4


def guess_focal(clip: Clip, focal_px: Callable[[Tensor, Tensor], Tensor]) -> FocalEstimate:
    """Guess for a clip of at least two frames.

    Args:
        clip: the decoded clip.
        focal_px: focal length (B,) in pixels from images 1 and images 2, each (B, 3, H, W) float32 in [0, 1].
    """
    step = min(_STRIDE, len(clip) - 1)
    first = np.unique(np.linspace(0, len(clip) - 1 - step, _PAIRS).round().astype(int))
    frames = torch.from_numpy(clip.frames.read([*first, *(first + step)]))
    images = frames.permute(0, 3, 1, 2).float() / 255
    guesses = focal_px(images[: len(first)], images[len(first) :])
    return FocalEstimate(float(guesses.median()), SIGMA_LOG, "network")

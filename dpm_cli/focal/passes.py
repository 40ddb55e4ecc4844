"""Focal lengths of the frames from those that the passes' point maps hold: one for the clip, or one a frame."""

from dataclasses import replace

import numpy as np
import torch

from dpm_cli.focal.estimate import FocalEstimate
from dpm_cli.geometry.robust import weighted_median

_LEAST_SIGMA = 1e-3
"""Deviation of log focal length that no pass is believed to beat; keeps a few overconfident passes from deciding
alone."""


def focal_of_passes(
    frame: np.ndarray,
    focal_px: np.ndarray,
    sigma_log: np.ndarray,
    frames: int,
    *,
    per_frame: bool,
    told: FocalEstimate | None = None,
) -> tuple[np.ndarray, FocalEstimate]:
    """Focal length (T,) in pixels of each frame, and the estimate for the clip.

    The weighted median of the logarithms is taken over the clip, or per frame, where frames that no pass measures get
    the clip's. The deviation is that of the median over passes.

    Args:
        frame: (E,) that each pass measures, that of its first image.
        focal_px: (E,) measured.
        sigma_log: (E,) its deviation.
        frames: T.
        per_frame: the lens zooms, or the frames are photos of different cameras.
        told: what the predictor made its maps with, if it was decided before; they agree on that however wrong it is,
            so its deviation and its source stay.
    """
    log_focal = torch.from_numpy(np.log(focal_px))
    weight = torch.from_numpy(1 / (sigma_log**2 + _LEAST_SIGMA**2))
    shared = weighted_median(log_focal, weight)
    spread = 1.4826 * float(weighted_median((log_focal - shared).abs(), weight))
    sigma = 1.25 * spread / max(np.sqrt(len(focal_px)), 1.0)
    focal = np.full(frames, float(shared.exp()))
    if per_frame:
        for t in np.unique(frame):
            mine = torch.from_numpy(frame == t)
            focal[t] = float(weighted_median(log_focal[mine], weight[mine]).exp())
    middle = float(np.median(focal))
    if told is None:
        return focal, FocalEstimate(middle, sigma, "passes")
    return focal, replace(told, focal_px=middle)

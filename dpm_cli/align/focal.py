"""Focal lengths of the frames from those of the passes: one for the clip, or one a frame."""

import numpy as np
import torch

from dpm_cli.align.passes import Passes
from dpm_cli.geometry.procrustes import weighted_median

_LEAST_SIGMA = 1e-3
"""Deviation of log focal that no pass is believed to beat; keeps a few overconfident passes from deciding alone."""


def clip_focal(passes: Passes, frames: int, *, per_frame: bool) -> tuple[np.ndarray, float]:
    """Focal length (T,) in pixels and the deviation of its logarithm.

    View 1 of a pass measures its frame's focal length. The weighted median of the logarithms is taken over the clip,
    or per frame, where frames that are never a view 1 get the clip's. The deviation is that of the median over passes.
    """
    log_focal = torch.from_numpy(np.log(passes.focal_px[:, 0]))
    weight = torch.from_numpy(1 / (passes.focal_sigma_log**2 + _LEAST_SIGMA**2))
    shared = weighted_median(log_focal, weight)
    spread = 1.4826 * float(weighted_median((log_focal - shared).abs(), weight))
    sigma = 1.25 * spread / max(np.sqrt(len(passes)), 1.0)
    focal = np.full(frames, float(shared.exp()))
    if per_frame:
        for t in np.unique(passes.pairs[:, 0]):
            mine = torch.from_numpy(passes.pairs[:, 0] == t)
            focal[t] = float(weighted_median(log_focal[mine], weight[mine]).exp())
    return focal, sigma

"""Where things go next: the point on the ray that the flow leads to, so that point, flow and cameras agree exactly.

How far along that ray two pictures hardly tell. Nearest to where the thing was is the least motion that the flow
allows; the pass has its own word, and it counts as far as its expected error is small against that least motion.
"""

import numpy as np

from dpm_cli.motion.look import Look
from dpm_cli.motion.steady import landed, unprojected

_CHANGE_SHARE = 0.1
"""Error of a pass's change of depth, of that of its depth: most of the latter is common to both times."""


def scene_flow_on_ray(
    log_depth: np.ndarray, confidence: np.ndarray, look: Look, told: np.ndarray
) -> np.ndarray:
    """Displacement (H, W, 3) float32 in camera t towards the other frame, of every pixel as if it moved.

    Args:
        log_depth: (H, W) of frame t, world units.
        confidence: (H, W) of it, 1 / relative error.
        look: from frame t to its neighbour.
        told: (H, W, 3) displacement in camera t that the pass says, in the scale of `log_depth`.
    """
    R, step = look.other_from_own[:3, :3], look.other_from_own[:3, 3]
    there = landed(log_depth, look)
    own = unprojected(log_depth, look.K_own)
    moved = own @ R.T + step
    z = np.maximum(((own + told) @ R.T + step)[..., 2], 1e-6)
    least = np.linalg.norm(there - moved, axis=-1) / np.maximum(moved[..., 2], 1e-6)
    error = _CHANGE_SHARE / np.maximum(confidence, 1)
    trust = least**2 / (least**2 + error**2 + 1e-12)
    factor = np.exp(trust * np.log(z / there[..., 2]))
    return ((there * factor[..., None] - step) @ R - own).astype(np.float32)

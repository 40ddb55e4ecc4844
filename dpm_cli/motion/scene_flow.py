"""Where things go next: the point on the ray that the flow leads to, so that point, flow and cameras agree exactly.

How far along that ray two pictures hardly tell. Nearest to where the thing was is the least motion that the flow
allows; the pass has its own word, and it counts as far as its expected error is small against that least motion.
"""

import numpy as np

from dpm_cli.motion.look import Look, own_rays
from dpm_cli.motion.steady import landed

_CHANGE_SHARE = 0.1
"""Error of a pass's change of depth, of that of its depth: most of the latter is common to both times."""


def scene_flow_on_ray(
    log_depth: np.ndarray, confidence: np.ndarray, look: Look, told: np.ndarray
) -> np.ndarray:
    """Displacement (3, H, W) float32 in camera t towards the other frame, of every pixel as if it moved.

    Args:
        log_depth: (H, W) of frame t, world units.
        confidence: (H, W) of it, 1 / relative error.
        look: from frame t to its neighbour.
        told: (3, H, W) displacement in camera t that the pass says, in the scale of `log_depth`.
    """
    found = landed(log_depth, look)
    motion = look.other_from_own.astype(np.float32)
    R, step = motion[:3, :3], motion[:3, 3]
    off2 = sum((r * found.z - m) ** 2 for r, m in zip(found.ray, found.moved, strict=True))
    least2 = off2 / np.maximum(found.moved[2], 1e-6) ** 2
    error = _CHANGE_SHARE / np.maximum(confidence, 1)
    trust = least2 / (least2 + error**2 + 1e-12)
    told_z = found.moved[2] + R[2, 0] * told[0] + R[2, 1] * told[1] + R[2, 2] * told[2]
    z = found.z * np.exp(trust * np.log(np.maximum(told_z, 1e-6) / found.z))
    there = [r * z - s for r, s in zip(found.ray, step, strict=True)]
    depth, out = np.exp(log_depth), np.empty((3, *log_depth.shape), np.float32)
    for a, own in enumerate(own_rays(look.K_own, log_depth.shape)):
        out[a] = R[0, a] * there[0] + R[1, a] * there[1] + R[2, a] * there[2] - own * depth
    return out

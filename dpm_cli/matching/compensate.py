"""Flow measured again with the pair's common motion taken out.

A homography fitted to the flow brings the second image near the first; what is left to measure is small and patches
no longer turn or grow, so it is measured better: on rendered clips with a zooming or rolling camera the median error
halves. Nearby, the first measurement is better, which no resampling has blurred: of both the one that comes back more
nearly is kept, pixel by pixel.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.matching.dis import Preset, consistency_error, dis_flow

_STEP = 8
_FEWEST = 50
"""Matches on a grid of every eighth pixel below which there is no common motion."""
_THRESHOLD_PX = 2.0
_LEAST_PX = 1.0
"""Common motion below which resampling costs more than it saves."""


def compensate(
    images: np.ndarray,
    flow: Tensor,
    consistent: Tensor,
    preset: Preset,
    smooth: Callable[[Tensor], Tensor],
) -> Tensor:
    """The better of the given and the compensated flow at every pixel, (2, H, W, 2).

    Args:
        images: (2, H, W) uint8.
        flow: (2, H, W, 2) pixels, 1 to 2 and 2 to 1.
        consistent: (2, H, W) bool, which flow to believe.
        preset: of DIS.
        smooth: mean over a neighbourhood of maps (N, H, W), for errors that decide together.
    """
    there = _common_motion(flow[0].numpy(), consistent[0].numpy())
    if there is None:
        return flow
    ways = (there, np.linalg.inv(there))
    again = np.stack(
        [_remaining_flow(images[v], images[1 - v], ways[v], preset) for v in (0, 1)]
    ).astype(np.float32)
    both = torch.stack((flow, torch.from_numpy(again)))
    off = smooth(consistency_error(both).flatten(0, 1).clamp_max(8).square()).unflatten(0, (2, 2))
    return torch.where((off[1] < off[0])[..., None], both[1], both[0])


def _common_motion(flow: np.ndarray, consistent: np.ndarray) -> np.ndarray | None:
    """Homography (3, 3) from image 1 to 2 that most matches agree on; None if there is none or it hardly moves."""
    height, width = consistent.shape
    y, x = np.mgrid[_STEP // 2 : height : _STEP, _STEP // 2 : width : _STEP]
    good = consistent[y, x]
    if good.sum() < _FEWEST:
        return None
    source = np.stack((x[good], y[good]), -1).astype(np.float32)
    found, _ = cv2.findHomography(
        source, source + flow[y[good], x[good]], cv2.USAC_MAGSAC, _THRESHOLD_PX
    )
    if found is None or abs(np.linalg.det(found)) < 1e-9:
        return None
    shift = np.linalg.norm(_moved(found, source.astype(np.float64)) - source, axis=-1)
    return found if np.median(shift) > _LEAST_PX else None


def _remaining_flow(
    image_1: np.ndarray, image_2: np.ndarray, homography: np.ndarray, preset: Preset
) -> np.ndarray:
    """Whole flow (H, W, 2) when what the homography leaves is measured in the second image brought to the first."""
    pixels = pixel_grid(*image_1.shape, dtype=torch.float64).numpy()
    target = _moved(homography, pixels).astype(np.float32)
    brought = cv2.remap(
        image_2, target[..., 0], target[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return _moved(homography, pixels + dis_flow(image_1, brought, preset)) - pixels


def _moved(homography: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Pixels (..., 2) under a homography; a point on its horizon goes far away, not to infinity."""
    moved = pixels @ homography[:, :2].T + homography[:, 2]
    z = moved[..., 2:]
    return moved[..., :2] / np.where(np.abs(z) < 1e-6, 1e-6, z)

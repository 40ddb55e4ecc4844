"""Does flow come back? Forward-backward error, on arrays of one pair and on tensors of many."""

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry.camera import pixel_grid


def sample(maps: Tensor, pixels: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Values (B, C, ...) of maps (B, C, H, W) at pixels (B, ..., 2) given as (x, y); edges are repeated."""
    height, width = maps.shape[-2:]
    scale = torch.tensor(
        (max(width - 1, 1), max(height - 1, 1)), dtype=maps.dtype, device=maps.device
    )
    grid = (pixels.to(maps.dtype) / scale * 2 - 1).reshape(len(maps), -1, 1, 2)
    out = torch.nn.functional.grid_sample(
        maps, grid, mode=mode, padding_mode="border", align_corners=True
    )
    return out[..., 0].unflatten(-1, pixels.shape[1:-1])


def consistency_error(flow: Tensor) -> Tensor:
    """Forward-backward error (B, 2, H, W) in pixels of flow (B, 2, H, W, 2)."""
    target = pixel_grid(*flow.shape[2:4], dtype=flow.dtype, device=flow.device) + flow
    other = flow.flip(1).flatten(0, 1).permute(0, 3, 1, 2)
    back = sample(other, target.flatten(0, 1)).permute(0, 2, 3, 1).unflatten(0, flow.shape[:2])
    return (flow + back).norm(dim=-1)


def lands_inside(flow: Tensor) -> Tensor:
    """Whether flow (B, 2, H, W, 2) ends inside the other image, (B, 2, H, W) bool."""
    height, width = flow.shape[2:4]
    target = pixel_grid(height, width, device=flow.device) + flow
    limit = torch.tensor((width - 1, height - 1), dtype=flow.dtype, device=flow.device)
    return ((target >= 0) & (target <= limit)).all(-1)


def targets(flow: np.ndarray) -> np.ndarray:
    """Where flow (H, W, 2) float32 leads, (H, W, 2) float32 pixels x, y."""
    return cv2.add(flow, _pixels(*flow.shape[:2]))


@lru_cache(maxsize=4)
def _pixels(height: int, width: int) -> np.ndarray:
    """Every pixel's x, y, (H, W, 2) float32; shared, so not to be written to."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    grid = np.stack((x, y), -1)
    grid.setflags(write=False)
    return grid


def length(flow: np.ndarray) -> np.ndarray:
    """Length (H, W) of flow (H, W, 2) float32."""
    return cv2.magnitude(*cv2.split(flow))


def follow(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """What `image` (H, W) or (H, W, C) shows where flow (H, W, 2) leads; its edges are repeated outside."""
    return look_up(image, targets(flow))


def comes_back(flow: np.ndarray, back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forward-backward error (H, W) in pixels of flow (H, W, 2) against `back`, and whether it lands inside."""
    there = targets(flow)
    x, y = cv2.split(cv2.add(flow, look_up(back, there)))
    limit = (flow.shape[1] - 1, flow.shape[0] - 1)
    return cv2.magnitude(x, y), cv2.inRange(there, (0, 0), limit) > 0


def look_up(image: np.ndarray, there: np.ndarray) -> np.ndarray:
    """`image` at pixels (H, W, 2) float32; its edges are repeated outside."""
    return cv2.remap(image, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore

"""Dense optical flow by OpenCV DIS, both ways, with forward-backward consistency.

Images go in, flow in pixels comes out; it knows nothing of cameras or points. DIS: Kroeger et al., ECCV 2016.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

Preset = Literal["ultrafast", "fast", "medium", "fine"]
"""OpenCV's presets, and `fine`: medium on slightly smoothed images with a smoother, longer variational refinement. It
costs 2.5 times as much; end-point error on visible pixels of rendered clips with small motion, 1 / 4 / 8 frames apart:
0.39 / 0.78 / 1.47 px against 0.49 / 0.86 / 1.49 px for medium. On well-textured real images the two are alike."""
_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "fine": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


def dis_flow(
    image_1: np.ndarray,
    image_2: np.ndarray,
    preset: Preset = "medium",
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Flow (H, W, 2) float32 in pixels from `image_1` to `image_2`, both (H, W, 3) or (H, W) uint8.

    `start` (H, W, 2) float32 is where the search begins, at every level of the pyramid; else nothing moves.
    """
    grey = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) if i.ndim == 3 else i for i in (image_1, image_2)]
    matcher = cv2.DISOpticalFlow.create(_PRESETS[preset])
    if preset == "fine":
        matcher.setVariationalRefinementAlpha(40.0)
        matcher.setVariationalRefinementIterations(10)
        grey = [cv2.GaussianBlur(g, (0, 0), 0.8) for g in grey]
    begin = None if start is None else start.copy()
    return matcher.calc(grey[0], grey[1], begin)  # pyright: ignore


def pair_flows(
    images_1: Tensor, images_2: Tensor, preset: Preset = "medium", workers: int = 2
) -> Tensor:
    """Flow (B, 2, H, W, 2) both ways for images (B, 3, H, W) float in [0, 1]; computed on the CPU in threads.

    Index 0 of the second axis is image 1 to 2, index 1 is image 2 to 1. The result is on the images' device.
    """
    both = torch.stack((images_1, images_2), 1)
    arrays = (both.detach().clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
    jobs = [(b, v) for b in range(len(arrays)) for v in (0, 1)]
    with ThreadPoolExecutor(workers) as pool:
        flows = list(
            pool.map(lambda j: dis_flow(arrays[j[0], j[1]], arrays[j[0], 1 - j[1]], preset), jobs)
        )
    stacked = torch.from_numpy(np.stack(flows)).unflatten(0, (len(arrays), 2))
    return stacked.to(images_1.device)


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
    height, width = flow.shape[2:4]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=flow.dtype, device=flow.device),
        torch.arange(width, dtype=flow.dtype, device=flow.device),
        indexing="ij",
    )
    target = torch.stack((x, y), -1) + flow
    other = flow.flip(1).flatten(0, 1).permute(0, 3, 1, 2)
    back = sample(other, target.flatten(0, 1)).permute(0, 2, 3, 1).unflatten(0, flow.shape[:2])
    return (flow + back).norm(dim=-1)

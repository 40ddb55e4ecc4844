"""Dense inverse search (Kroeger et al., ECCV 2016) by OpenCV: the search that everything else here starts from."""

from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

Preset = Literal["fast", "medium", "sharp"]
"""OpenCV's `fast` and `medium`, and `sharp`: patches on the image's own pixels every third pixel, without variational
refinement, which comes later in `interpolate`. On 26 real, film and rendered pairs the end-point error of `sharp`
followed by it is half of that of `medium`; by itself it is noisier."""
_PRESETS = {
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "sharp": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}

_SHARP_ITERATIONS = 12
"""Steps of a patch at each level; more, such as the 25 of `medium`, cost time and gain nothing."""


def dis_flow(
    image_1: np.ndarray,
    image_2: np.ndarray,
    preset: Preset = "medium",
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Flow (H, W, 2) float32 in pixels from `image_1` to `image_2`, both (H, W) or (H, W, 3) uint8.

    `start` (H, W, 2) float32 is where the search begins, at every level of the pyramid; else nothing moves.
    """
    grey = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY) if i.ndim == 3 else i for i in (image_1, image_2)]
    matcher = cv2.DISOpticalFlow.create(_PRESETS[preset])
    if preset == "sharp":
        matcher.setFinestScale(0)
        matcher.setPatchStride(3)
        matcher.setVariationalRefinementIterations(0)
        matcher.setGradientDescentIterations(_SHARP_ITERATIONS)
    begin = None if start is None else start.copy()
    return matcher.calc(grey[0], grey[1], begin)  # pyright: ignore


def pair_flows(images_1: Tensor, images_2: Tensor, preset: Preset = "medium") -> Tensor:
    """DIS flow (B, 2, H, W, 2) in pixels both ways, of images (B, 3, H, W) float in [0, 1]; computed on the CPU.

    Index 0 of the second axis is image 1 to 2, index 1 is image 2 to 1. The result is on the images' device.
    """
    both = torch.stack((images_1, images_2), 1)
    pairs = (
        (both.detach().clamp(0, 1) * 255)
        .round()
        .byte()
        .permute(0, 1, 3, 4, 2)
        .contiguous()
        .cpu()
        .numpy()
    )
    flows = [np.stack((dis_flow(a, b, preset), dis_flow(b, a, preset))) for a, b in pairs]
    return torch.from_numpy(np.stack(flows)).to(images_1.device)

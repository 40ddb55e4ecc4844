"""Dense flow for networks that are given it: DIS, and DIS again from feature matches where the first was lost."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch import Tensor

from dpm_cli.matching.dense_match import flow_both_ways


def seeded_flows(images_1: Tensor, images_2: Tensor, workers: int) -> Tensor:
    """Flow (B, 2, H, W, 2) both ways in pixels, index 0 from image 1 to 2, on the images' device.

    Args:
        images_1: (B, 3, H, W) float in [0, 1].
        images_2: the other images.
        workers: threads.
    """
    both = torch.stack((images_1, images_2), 1).detach().clamp(0, 1)
    arrays = (both * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()

    def flow(pair: np.ndarray) -> Tensor:
        grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in pair])
        return flow_both_ways(grey, "medium")

    with ThreadPoolExecutor(workers) as pool:
        return torch.stack(list(pool.map(flow, arrays))).to(images_1.device)

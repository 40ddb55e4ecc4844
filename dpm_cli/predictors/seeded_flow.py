"""Dense flow for networks that are given it: DIS, and DIS again from feature matches where the first was lost."""

import numpy as np
import torch
from torch import Tensor

from dpm_cli.dense_flow import consistency_error, dis_flow, pair_flows
from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.predictors.geometric.matching import LOST_SHARE
from dpm_cli.predictors.geometric.seeds import flow_starts

_RETURNS_PX, _RETURNS_SHARE = 0.7, 0.03
"""A vector is believed that comes back to so many pixels plus this share of its length."""


def seeded_flows(images_1: Tensor, images_2: Tensor, workers: int) -> Tensor:
    """Flow (B, 2, H, W, 2) both ways in pixels, index 0 from image 1 to 2.

    Args:
        images_1: (B, 3, H, W) float in [0, 1].
        images_2: the other images.
        workers: threads.
    """
    flow = pair_flows(images_1, images_2, "medium", workers)
    matched = _matched_share(flow)
    for pair in torch.nonzero(matched < LOST_SHARE)[:, 0].tolist():
        grey = [_grey(images[pair]) for images in (images_1, images_2)]
        starts = flow_starts(*grey)
        if starts is None:
            continue
        found = [dis_flow(grey[v], grey[1 - v], "medium", starts[v]) for v in (0, 1)]
        again = torch.from_numpy(np.stack(found)).to(flow.device)
        if _matched_share(again[None])[0] > matched[pair]:
            flow[pair] = again
    return flow


def _grey(image: Tensor) -> np.ndarray:
    """(H, W) uint8 of an image (3, H, W) in [0, 1], with the weights of ITU-R BT.601."""
    weight = torch.tensor((0.299, 0.587, 0.114), device=image.device)
    return ((image.clamp(0, 1) * 255).permute(1, 2, 0) @ weight).round().byte().cpu().numpy()


def _matched_share(flow: Tensor) -> Tensor:
    """Share (B,) of pixels that land inside the other image and come back, both ways together."""
    height, width = flow.shape[2:4]
    target = pixel_grid(height, width, device=flow.device) + flow
    limit = torch.tensor((width - 1, height - 1), dtype=flow.dtype, device=flow.device)
    inside = ((target >= 0) & (target <= limit)).all(-1)
    returns = consistency_error(flow) < _RETURNS_PX + _RETURNS_SHARE * flow.norm(dim=-1)
    return (inside & returns).float().flatten(1).mean(1)

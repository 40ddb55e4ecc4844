"""Pairs at the size that a training step wants: a central window, resized, with truth that stays exact."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dpm_cli.geometry.camera import transform_intrinsics
from dpm_cli.structures import PairTruth


def crop_resize(truth: PairTruth, size: tuple[int, int]) -> PairTruth:
    """The largest central window of the aspect of `size` (H, W), resized to it.

    Images are averaged; points and flow are taken at the nearest pixel, because a mean across an edge is no point.
    """
    height, width = truth.images.shape[-2:]
    if (height, width) == size:
        return truth
    ratio = max(size[0] / height, size[1] / width)
    window = (min(round(size[0] / ratio), height), min(round(size[1] / ratio), width))
    top, left = (height - window[0]) // 2, (width - window[1]) // 2
    images = truth.images[..., top : top + window[0], left : left + window[1]]
    images = F.interpolate(images.flatten(0, 1), size, mode="bilinear", antialias=True)
    ry, rx = size[0] / window[0], size[1] / window[1]
    rows = _nearest(size[0], ry, top).to(truth.points.device)
    columns = _nearest(size[1], rx, left).to(truth.points.device)
    resize = torch.tensor(
        ((rx, 0, (0.5 - left) * rx - 0.5), (0, ry, (0.5 - top) * ry - 0.5), (0, 0, 1))
    )

    def take(maps: Tensor, axis: int) -> Tensor:
        return maps.index_select(axis, rows).index_select(axis + 1, columns)

    return replace(
        truth,
        images=images.unflatten(0, (-1, 2)),
        points=take(truth.points, 3),
        valid=take(truth.valid, 3),
        moving=take(truth.moving, 2),
        visible=take(truth.visible, 2),
        flow=take(truth.flow, 2) * torch.tensor((rx, ry), device=truth.flow.device),
        intrinsics=transform_intrinsics(truth.intrinsics, resize),
    )


def _nearest(count: int, ratio: float, start: int) -> Tensor:
    """Source index of each of `count` target pixels of an axis cut at `start` and scaled by `ratio`."""
    centres = (torch.arange(count) + 0.5) / ratio - 0.5
    last = round(count / ratio) - 1
    return centres.round().clamp(0, last).long() + start

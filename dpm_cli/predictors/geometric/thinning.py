"""A regular thinning of dense flow into matches."""

import torch
from torch import Tensor

from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.matching.dense_match import DenseMatch
from dpm_cli.predictors.geometric.epipolar import Matches


def thin(match: DenseMatch, centre: Tensor, count: int = 3000) -> Matches:
    """About `count` matches a direction on a regular grid; `centre` (2,) is the principal point in pixels."""
    height, width = match.error.shape[2:]
    step = max(1, round((height * width / count) ** 0.5))
    inner = slice(step // 2, None, step)
    source = pixel_grid(height, width, dtype=torch.float64, device=match.flow.device)[inner, inner]
    flow = match.flow[:, :, inner, inner].double()
    source = source.expand_as(flow) - centre
    return Matches(
        source.flatten(2, 3),
        (source + flow).flatten(2, 3),
        match.covariance[:, :, inner, inner].double().flatten(2, 3),
        match.consistent[:, :, inner, inner].double().flatten(2, 3),
    )

"""Validation of the pair network by what the tool makes of its maps: camera, focal length, motion by `reduce_pair`."""

from collections.abc import Iterable

import torch

from dpm_cli.geometry.reduce import reduce_pair
from dpm_cli.predictors.certainty import relative_confidence
from dpm_cli.structures import PairPrediction
from dpm_cli.workshop.train.batches import Batch
from dpm_cli.workshop.train.validate import Scores, score_points, summarise

FLOW_LIMIT = 10.0
"""Image sizes."""
_MOVES = 0.5
"""Motion score above which a pixel is said to move, as in masks."""


@torch.no_grad()
def score_pairs(
    network: torch.nn.Module, batches: Iterable[Batch], autocast: bool = False
) -> Scores:
    """Scores of a pair network on batches; motion is displacement against its noise, focal that of P_1(t_1)."""
    rows = []
    for batch in batches:
        truth = batch.truth
        with torch.autocast(truth.images.device.type, torch.bfloat16, enabled=autocast):
            out = network(truth.images[:, 0], truth.images[:, 1])
        confidence = relative_confidence(out.points, out.certainty, 1)
        found = reduce_pair(PairPrediction(out.points, confidence))
        K = truth.intrinsics[:, 0]
        log_focal_error = (found.focal_px[:, 0] / K[:, 0, 0]).log().abs()
        moves = found.motion > _MOVES
        # Points near the camera's plane land anywhere: as far away as the truth's own limit says.
        limit = FLOW_LIMIT * max(truth.images.shape[-2:])
        flow = found.flow[:, 0].float().clamp(-limit, limit)
        rows.append(score_points(out.points, truth, moves, batch.flow, log_focal_error, flow))
    return summarise(rows)

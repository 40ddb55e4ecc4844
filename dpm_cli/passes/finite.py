"""Numbers that are none: what a predictor says is made finite, or marked as unknown, before anything is computed of it.

Half precision overflows, and networks meet pictures that they were not made for. One NaN in a confidence would reach
the cameras of the whole clip.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dpm_cli.structures import PairPrediction

_FARTHEST = 1e12
"""Coordinates beyond this overflow when they are squared."""
_SURELY_NOT = -20.0
"""Log odds."""


def finite_prediction(prediction: PairPrediction) -> tuple[PairPrediction, np.ndarray]:
    """The prediction with every number finite but the points that are unknown, which are NaN.

    Also the share (B,) of each pair's pixels that had something that was no number. Reduction takes points that are
    NaN for not valid.
    """
    points, confidence = prediction.points, prediction.confidence
    known = (points.abs() < _FARTHEST).all(-1) & confidence.isfinite()  # NaN is below nothing
    for logit in (prediction.motion_logit, prediction.valid_logit):
        if logit is not None:
            known = known & logit.isfinite()[:, :, None]
    if prediction.flow is not None:
        known = known & prediction.flow.isfinite().all(-1)[:, :, None]
    share = 1 - known.all(2).float().mean((1, 2, 3))
    if not bool(share.any()):
        return prediction, share.double().cpu().numpy()
    cleaned = replace(
        prediction,
        points=torch.where(known[..., None], points, torch.nan),
        confidence=torch.where(known, confidence, 0.0),
        flow=_without(prediction.flow, 0.0),
        motion_logit=_without(prediction.motion_logit, 0.0),
        valid_logit=_without(prediction.valid_logit, _SURELY_NOT),
    )
    return cleaned, share.double().cpu().numpy()


def _without(values: Tensor | None, instead: float) -> Tensor | None:
    return None if values is None else torch.where(values.isfinite(), values, instead)

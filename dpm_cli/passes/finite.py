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
    if _is_all_known(prediction):
        return prediction, np.zeros(len(prediction.points))
    points, confidence = prediction.points, prediction.confidence
    known = (points.abs() < _FARTHEST).all(-1) & confidence.isfinite()  # NaN is below nothing
    for logit in (prediction.motion_logit, prediction.valid_logit):
        if logit is not None:
            known = known & logit.isfinite()[:, :, None]
    if prediction.flow is not None:
        known = known & prediction.flow.isfinite().all(-1)[:, :, None]
    share = 1 - known.all(2).float().mean((1, 2, 3))
    cleaned = replace(
        prediction,
        points=torch.where(known[..., None], points, torch.nan),
        confidence=torch.where(known, confidence, 0.0),
        flow=_without(prediction.flow, 0.0),
        motion_logit=_without(prediction.motion_logit, 0.0),
        valid_logit=_without(prediction.valid_logit, _SURELY_NOT),
    )
    return cleaned, share.double().cpu().numpy()


def _is_all_known(prediction: PairPrediction) -> bool:
    """Whether there is nothing to clean, by the extremes alone; NaN and infinity do not hide from them."""
    others = (
        prediction.confidence,
        prediction.flow,
        prediction.motion_logit,
        prediction.valid_logit,
    )
    extremes = torch.stack([e for m in others if m is not None for e in m.float().aminmax()])
    low, high = prediction.points.aminmax()
    known = (torch.maximum(-low, high) < _FARTHEST) & extremes.isfinite().all()
    return bool(known)


def _without(values: Tensor | None, instead: float) -> Tensor | None:
    return None if values is None else torch.where(values.isfinite(), values, instead)

"""The predictor without weights: classical two-view geometry that says plainly what it could not know."""

from pathlib import Path

import torch

from dpm_cli.errors import UsageError
from dpm_cli.predictors.geometric.predictor import GeometricPredictor

__all__ = ["GeometricPredictor", "load"]


def load(weights: Path | None, device: torch.device, dtype: torch.dtype) -> GeometricPredictor:
    """The predictor on `device`; `dtype` is for networks and changes nothing here.

    Raises:
        UsageError: `weights` are given.
    """
    if weights is not None:
        raise UsageError("--weights: the geometric predictor has none; leave the option out")
    return GeometricPredictor(device=device)

"""Matches between two images: how many are right within 1, 3 and 5 pixels."""

from dataclasses import dataclass

import numpy as np

from dpm_cli.geometry.vectors import length


@dataclass(frozen=True)
class MatchErrors:
    """Errors of the matches whose first pixel has truth."""

    within_1px: float
    within_3px: float
    within_5px: float
    count: int
    """Matches that were judged."""


def match_errors(
    pixels_1: np.ndarray, pixels_2: np.ndarray, flow: np.ndarray, visible: np.ndarray
) -> MatchErrors:
    """Judge matches `pixels_1` -> `pixels_2` (N, 2) as (x, y) by the true flow (H, W, 2) of image 1.

    Only matches count whose first pixel, rounded, is `visible` (H, W) in both images.
    """
    x, y = np.round(pixels_1).astype(np.int64).T
    judged = visible[y, x]
    truth = pixels_1[judged] + flow[y, x][judged]
    error = length(pixels_2[judged] - truth)
    if not error.size:
        return MatchErrors(np.nan, np.nan, np.nan, 0)
    one, three, five = (float((error <= limit).mean()) for limit in (1, 3, 5))
    return MatchErrors(one, three, five, int(error.size))

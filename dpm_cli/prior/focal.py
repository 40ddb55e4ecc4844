"""A prior's focal length beside what the clip's own geometry says, by their variances."""

import math

import numpy as np

from dpm_cli.focal import FocalEstimate
from dpm_cli.prior.store import PriorStore

_BEYOND = 2.0
"""Deviations of a contradiction at which the less certain of two has a quarter of its weight."""


def with_prior(
    own: FocalEstimate, store: PriorStore, frames: int, said: str
) -> FocalEstimate | None:
    """The clip's estimate and that of the prior named `said` together; None where the prior knows no focal length."""
    prior = prior_focal(store, frames)
    if prior is None:
        return None
    log_px, sigma = combined(prior, (math.log(own.focal_px), own.sigma_log))
    return FocalEstimate(math.exp(log_px), sigma, "prior", said)


def prior_focal(store: PriorStore, frames: int) -> tuple[float, float] | None:
    """(log focal length in pixels, its deviation) of a clip: the median over its frames; None where nothing is said.

    What is wrong with one picture of a scene is wrong with the next, so the deviation is not averaged away.
    """
    said = [store.read(t) for t in range(frames)]
    known = [(e.focal_px, e.focal_sigma_log) for e in said if e.focal_px]
    if not known:
        return None
    log_px, sigma = np.log([k[0] for k in known]), known[0][1]
    spread = 1.4826 * np.median(np.abs(log_px - np.median(log_px))) / math.sqrt(len(known))
    return float(np.median(log_px)), float(np.hypot(spread, sigma))


def combined(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Mean and deviation of two estimates (value, deviation); in a contradiction the less certain one loses."""
    sure, other = sorted((first, second), key=lambda e: e[1])
    off = (sure[0] - other[0]) / math.hypot(sure[1], other[1])
    precisions = sure[1] ** -2, other[1] ** -2 / (1 + (off / _BEYOND) ** 2) ** 2
    total = sum(precisions)
    return (sure[0] * precisions[0] + other[0] * precisions[1]) / total, total**-0.5

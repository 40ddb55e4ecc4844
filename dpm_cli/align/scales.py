"""Scale of each pass from depth: passes that see the same frame at the same time see the same surface.

Each frame gets a reference map (median over its passes, each levelled by its own median); the log offset of a pass
from it is a median of log ratios, which is symmetric in the two maps: swapping them changes its sign and noise does not
shrink it, unlike a least-squares scale. Levels b (frames) and scales a (passes) then follow from a + offset = b.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from dpm_cli.align.depth import median_over_maps
from dpm_cli.align.normal_solve import solve_normal
from dpm_cli.align.passes import Passes
from dpm_cli.geometry.robust import weighted_median

_CHUNK = 512
_TILES = (6, 8)
_COMMON_ERROR = 0.1
"""Part of a map's expected relative error that is taken to be common to the whole map."""


@dataclass(frozen=True, eq=False)
class DepthOffsets:
    """Log offsets of E passes, for each view."""

    offset: np.ndarray
    """(E, 2) pass log depth minus its frame's reference."""
    sigma: np.ndarray
    """(E, 2) its deviation."""


@dataclass(frozen=True, eq=False)
class DepthScales:
    """Scales that agree with the offsets."""

    log_scale: np.ndarray
    """(E,) log of world units per pass unit."""
    level: np.ndarray
    """(T,) log level of each frame's reference."""


def depth_offsets(passes: Passes, frames: int, log_scale: np.ndarray | None = None) -> DepthOffsets:
    """Offset of every pass from its frames' reference maps.

    Args:
        passes: E passes.
        frames: T.
        log_scale: (E,) where known; sharpens the reference maps. None levels each map by its own median.
    """
    log_depth, confidence = torch.from_numpy(passes.log_depth), torch.from_numpy(passes.confidence)
    weights = confidence * confidence
    if log_scale is None:
        level = -_batched(lambda d, w: weighted_median(d, w), log_depth, weights)
    else:
        level = torch.from_numpy(log_scale).float()[:, None].expand(-1, 2)
    reference = _references(passes.pairs, frames, log_depth + level[..., None, None], weights)
    index = torch.from_numpy(passes.pairs)

    def measure(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        difference = (log_depth[rows] - reference[index[rows]]).flatten(2)
        w = weights[rows].flatten(2)
        return _centre(difference, w, passes.log_depth.shape[2:])

    parts = [measure(slice(k, k + _CHUNK)) for k in range(0, len(passes), _CHUNK)]
    offset, sigma = (torch.cat(p).double().numpy() for p in zip(*parts, strict=True))
    common = _COMMON_ERROR / np.maximum(np.sqrt(_mean_weight(passes.confidence)), 1e-3)
    return DepthOffsets(offset, np.hypot(sigma, common))


def solve_scales(
    pairs: np.ndarray, frames: int, offsets: DepthOffsets, iterations: int = 20
) -> DepthScales:
    """Levels and scales by reweighted least squares; a pass with a wrong depth ratio loses its say.

    With the pass's own scale eliminated a pass says level_j - level_i = offset_j - offset_i. Frames of separate parts
    are levelled independently (a weak pull to zero).
    """
    measured = offsets.offset[:, 1] - offsets.offset[:, 0]
    variance = (offsets.sigma**2).sum(1)
    rows = np.repeat(np.arange(len(pairs)), 2)
    incidence = sp.csr_matrix(
        (np.tile((-1.0, 1.0), len(pairs)), (rows, pairs.ravel())), shape=(len(pairs), frames)
    )
    weights, level = 1 / variance, np.zeros(frames)
    weak = sp.identity(frames) * (1e-9 * weights.mean())
    robust = np.ones(len(pairs))
    for _ in range(iterations):
        normal = incidence.T @ sp.diags(weights * robust) @ incidence + weak
        level = solve_normal(normal, incidence.T @ (weights * robust * measured))
        # |r| over its deviation; the L1 weight tolerates the most outliers and needs no width.
        distance = np.abs(incidence @ level - measured) * np.sqrt(weights)
        robust = 1 / np.maximum(distance, 0.1)
    each = level[pairs] - offsets.offset
    share = 1 / offsets.sigma**2
    return DepthScales((each * share).sum(1) / share.sum(1), level)


def _batched(function, log_depth: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    parts = [
        function(log_depth[k : k + _CHUNK].flatten(2), weights[k : k + _CHUNK].flatten(2))
        for k in range(0, len(log_depth), _CHUNK)
    ]
    return torch.cat(parts)


def _references(
    pairs: np.ndarray, frames: int, levelled: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Median map (T, h, w) of each frame over the passes that see it; zeros for frames that none sees."""
    order = np.argsort(pairs.ravel(), kind="stable")
    bounds = np.searchsorted(pairs.ravel()[order], np.arange(frames + 1))
    flat, w = levelled.flatten(0, 1), weights.flatten(0, 1)
    reference = torch.zeros(frames, *levelled.shape[2:])
    for t in range(frames):
        mine = torch.from_numpy(order[bounds[t] : bounds[t + 1]])
        if len(mine):
            reference[t] = median_over_maps(flat[mine], w[mine])
    return reference


def _centre(
    difference: torch.Tensor, weights: torch.Tensor, grid: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Robust centre (E, 2) of log ratios (E, 2, h * w) and its deviation, which counts tiles, not points.

    One step from the median with Geman-McClure weights: as symmetric and robust, with a quarter less noise.
    """
    h, w = grid
    median = weighted_median(difference, weights)[..., None]
    residual = difference - median
    width = (3 * 1.4826 * weighted_median(residual.abs(), weights)[..., None]).clamp_min(1e-7)
    robust = weights * (width**2 / (width**2 + residual**2)) ** 2
    total = robust.sum(-1).clamp_min(1e-12)
    shift = (robust * residual).sum(-1) / total
    slope = (
        (robust * (1 - 4 * residual**2 / (width**2 + residual**2))).sum(-1).clamp_min(0.1 * total)
    )
    pull = (robust * (residual - shift[..., None])).unflatten(-1, (h, w))
    tile = (-(-h // _TILES[0]), -(-w // _TILES[1]))
    tiles = torch.nn.functional.avg_pool2d(pull, tile, ceil_mode=True, divisor_override=1)
    return median[..., 0] + shift, tiles.square().sum((-1, -2)).sqrt() / slope


def _mean_weight(confidence: np.ndarray) -> np.ndarray:
    """(E, 2) mean squared confidence of the valid points."""
    seen = np.maximum((confidence > 0).sum(axis=(2, 3)), 1)
    return np.square(confidence, dtype=np.float64).sum(axis=(2, 3)) / seen

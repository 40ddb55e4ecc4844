"""Depth of one frame from all passes that see it: confidence-weighted median in log depth.

A mean would invent points between a near and a far surface where passes disagree about an edge; a median takes a side.
"""

import numpy as np
import torch

from dpm_cli.geometry.robust import weighted_median


def fuse_log_depth(log_depth: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted median of N log-depth maps and its confidence.

    Args:
        log_depth: (N, H, W) in one scale.
        confidence: (N, H, W) 1 / expected relative error; 0 = no vote. The weight is its square.

    Returns:
        log depth (H, W) float32, 0 where nothing votes, and confidence (H, W) float32. The expected error is the larger
        of what the maps say of themselves (their mean by weight; errors of passes that share a frame are
        correlated, so averaging is not credited) and of their disagreement.
    """
    values, c = torch.from_numpy(log_depth).float(), torch.from_numpy(confidence).float()
    weights = c * c
    fused = median_over_maps(values, weights)
    error = c.sum(0) / weights.sum(0).clamp_min(1e-18)
    spread = 1.4826 * median_over_maps((values - fused).abs(), weights)
    worst = torch.maximum(error, spread)
    fused_confidence = torch.where(worst > 0, 1 / worst.clamp_min(1e-9), worst)
    return fused.numpy(), fused_confidence.numpy()


def median_over_maps(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted median (...) over the first axis of (N, ...), the mean of both middles on a tie; 0 without weight."""
    last = (m.movedim(0, -1).contiguous() for m in (values, weights))
    return weighted_median(*last)

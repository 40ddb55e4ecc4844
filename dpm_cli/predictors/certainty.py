"""From the certainty of DUSt3R-like networks to dpm's confidence.

Training minimises C * error / scale - alpha * log C (paper eq. 2), so at the optimum the expected error of a point
is alpha * scale / C, where `scale` is the size by which the points were normalised. Confidence is one over the
error relative to the point's distance.
"""

import torch
from torch import Tensor

ALPHA = 0.2
"""Of the confidence loss; the same in DUSt3R, MonST3R and VGGT."""
SAMPLES = 100_000
"""Points that are enough for a median."""


def relative_confidence(points: Tensor, certainty: Tensor, batch_dims: int) -> Tensor:
    """1 / expected relative error.

    Args:
        points: (*batch, ..., 3) in one frame and scale per batch element.
        certainty: (*batch, ...) at least 1.
        batch_dims: leading axes that have a scale of their own.

    Returns:
        (*batch, ...) positive and finite.
    """
    distance = points.norm(dim=-1)
    every = distance.flatten(batch_dims)
    # A median of tens of millions of points costs more than a decoder block; an odd step meets all columns.
    sample = every[..., :: every.shape[-1] // SAMPLES | 1]
    scale = sample.median(-1).values.clamp(min=torch.finfo(points.dtype).tiny)
    scale = scale.view(*scale.shape, *(1,) * (distance.dim() - batch_dims))
    return certainty * distance / (ALPHA * scale)

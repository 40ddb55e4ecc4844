"""What depth is likely when nothing is known: the world is nearer at the bottom of the picture than at its top."""

import torch
from torch import Tensor


def inverse_depth_prior(height: int, width: int, *, dtype=torch.float32, device=None) -> Tensor:
    """Inverse depth (H, W) with mean about 1: falls from the lower edge to the upper, a little from the sides inward.

    The sideways curve also keeps the points off a plane, from which a camera is hard to recover.
    """
    y = torch.linspace(0, 1, height, dtype=dtype, device=device)[:, None]
    x = torch.linspace(-1, 1, width, dtype=dtype, device=device)
    return 0.7 + 0.6 * y + 0.15 * (x * x - 1 / 3)

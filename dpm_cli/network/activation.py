"""From the raw channels of a head to points and confidences, always in float32."""

import torch
from torch import Tensor


def points_exp(raw: Tensor) -> Tensor:
    """DUSt3R: direction kept, length expm1'd. (B, 3, H, W) to (B, H, W, 3)."""
    vector = raw.movedim(1, -1)
    length = vector.norm(dim=-1, keepdim=True)
    return vector / length.clamp(min=1e-8) * torch.expm1(length)


def points_inv_log(raw: Tensor) -> Tensor:
    """VGGT: every coordinate v becomes sign(v) expm1(|v|). (B, 3, H, W) to (B, H, W, 3)."""
    vector = raw.movedim(1, -1)
    return vector.sign() * torch.expm1(vector.abs())


def confidence_exp(raw: Tensor) -> Tensor:
    """1 + exp(c), so that it starts at one."""
    return 1 + raw.exp()

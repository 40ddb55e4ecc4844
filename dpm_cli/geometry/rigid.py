"""Rigid transforms as (..., 4, 4) matrices named `target_from_source` (or `cam2world`).

Compose by `@`. Batched over leading axes, any float dtype; float64 is advised where a solver iterates.
"""

import torch
from torch import Tensor


def rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 4, 4) from rotation (..., 3, 3) and translation (..., 3)."""
    top = torch.cat((rotation, translation[..., None]), -1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 0, 3] = 1
    return torch.cat((top, bottom), -2)


def invert(T: Tensor) -> Tensor:
    """Inverse of rigid transforms (..., 4, 4)."""
    Rt = T[..., :3, :3].transpose(-1, -2)
    return rigid(Rt, -(Rt @ T[..., :3, 3:])[..., 0])


def transform(T: Tensor, points: Tensor) -> Tensor:
    """Apply T (..., 4, 4) to points (..., N, 3)."""
    return points @ T[..., :3, :3].transpose(-1, -2) + T[..., None, :3, 3]


def transform_map(T: Tensor, points: Tensor) -> Tensor:
    """Apply T (..., 4, 4) to a point map (..., H, W, 3)."""
    height, width = points.shape[-3:-1]
    return transform(T, points.flatten(-3, -2)).unflatten(-2, (height, width))


def rotate_map(T: Tensor, vectors: Tensor) -> Tensor:
    """Apply only the rotation of T (..., 4, 4) to a map of displacements (..., H, W, 3)."""
    height, width = vectors.shape[-3:-1]
    turned = vectors.flatten(-3, -2) @ T[..., :3, :3].transpose(-1, -2)
    return turned.unflatten(-2, (height, width))


def hat(v: Tensor) -> Tensor:
    """Cross-product matrix (..., 3, 3) of v (..., 3)."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))


def so3_exp(w: Tensor) -> Tensor:
    """Rotation (..., 3, 3) from an axis-angle vector (..., 3) in radians (Rodrigues)."""
    theta2 = (w * w).sum(-1)[..., None, None]
    small = theta2 < 1e-8
    safe = torch.where(small, torch.ones_like(theta2), theta2)
    theta = safe.sqrt()
    a = torch.where(small, 1 - theta2 / 6, torch.sin(theta) / theta)
    b = torch.where(small, 0.5 - theta2 / 24, (1 - torch.cos(theta)) / safe)
    W = hat(w)
    return torch.eye(3, dtype=w.dtype, device=w.device) + a * W + b * (W @ W)


def so3_angle(R: Tensor) -> Tensor:
    """Angle (...) in radians of rotations (..., 3, 3), accurate near 0 and near pi."""
    skew = torch.stack(
        (R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]), -1
    )
    trace = R.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2(skew.norm(dim=-1), trace - 1)

"""Similarity transforms as (..., 4, 4) matrices [s R | t]: scale, rotate, then move.

Compose by `@` as rigid ones. A generator (..., 7) is (translation part, rotation part in radians, log scale).
"""

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import hat, rigid, so3_exp, so3_log


def similarity(scale: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 4, 4) from scale (...) > 0, rotation (..., 3, 3) and translation (..., 3)."""
    return rigid(scale[..., None, None] * rotation, translation)


def scale_of(S: Tensor) -> Tensor:
    """Scale (...) of similarities (..., 4, 4): the cube root of the determinant."""
    return torch.linalg.det(S[..., :3, :3]).pow(1 / 3)


def split(S: Tensor) -> tuple[Tensor, Tensor]:
    """Scale (...) and the rigid transform (..., 4, 4) with the same rotation and translation."""
    scale = scale_of(S)
    return scale, rigid(S[..., :3, :3] / scale[..., None, None], S[..., :3, 3])


def invert_similarity(S: Tensor) -> Tensor:
    """Inverse of similarities (..., 4, 4)."""
    scale, T = split(S)
    back = T[..., :3, :3].transpose(-1, -2) / scale[..., None, None]
    return rigid(back, -(back @ T[..., :3, 3:])[..., 0])


def apply_to_cameras(S: Tensor, cam2world: Tensor) -> Tensor:
    """Cameras (..., 4, 4) of the world after the similarity S (4, 4) acted on it; they stay rigid."""
    _, T = split(S @ cam2world)
    return T


def sim3_exp(generator: Tensor) -> Tensor:
    """Similarities (..., 4, 4) of generators (..., 7)."""
    v, w, log_scale = generator[..., :3], generator[..., 3:6], generator[..., 6]
    t = (_integral(w, log_scale) @ v[..., None])[..., 0]
    return similarity(log_scale.exp(), so3_exp(w), t)


def sim3_log(S: Tensor) -> Tensor:
    """Generators (..., 7) of similarities (..., 4, 4); rotation angles up to pi."""
    scale, T = split(S)
    w, log_scale = so3_log(T[..., :3, :3]), scale.log()
    v = torch.linalg.solve(_integral(w, log_scale), T[..., :3, 3])
    return torch.cat((v, w, log_scale[..., None]), -1)


def _integral(w: Tensor, log_scale: Tensor) -> Tensor:
    """Integral of exp(a (log_scale I + hat(w))) over a in [0, 1], (..., 3, 3).

    It is the upper right block of the exponential of [[A, I], [0, 0]], which has no small-angle cases.
    """
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    A = hat(w) + log_scale[..., None, None] * eye
    upper = torch.cat((A, eye.expand_as(A)), -1)
    return torch.linalg.matrix_exp(torch.cat((upper, torch.zeros_like(upper)), -2))[..., :3, 3:]

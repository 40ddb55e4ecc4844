"""Similarity transforms as (..., 4, 4) matrices [s R | t]: scale, rotate, then move. Compose by `@` as rigid ones."""

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import rigid


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


def apply_to_cameras(S: Tensor, cam2world: Tensor) -> Tensor:
    """Cameras (..., 4, 4) of the world after the similarity S (4, 4) acted on it; they stay rigid."""
    _, T = split(S @ cam2world)
    return T

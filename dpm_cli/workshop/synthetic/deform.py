"""Analytic deformations phi_t of unit coordinates and their exact inverses.

SUPERQUADRIC: twist about y by tau y, then sway x += a_x sin(k y + f_x), z += a_z sin(k y + f_z).
    parameters: a_x, f_x, a_z, f_z, k, tau, -, -
SHEET: z += a_1 sin(k_1 x + l_1 y + f_1) + a_2 sin(k_2 x + l_2 y + f_2).
    parameters: a_1, k_1, l_1, f_1, a_2, k_2, l_2, f_2
Other kinds do not deform beyond their affine state. Points are (3, M), component first, parameters (8, M).
Work is done for the points that need it, in lists; a fused kernel (`fuse.py`) has no lists and takes masks.
"""

import torch
from torch import Tensor

from dpm_cli.workshop.synthetic.scene import ShapeKind


def sheet_height(x: Tensor, y: Tensor, q: Tensor) -> Tensor:
    """Displacement (M,) along z at (x, y)."""
    return q[0] * (q[1] * x + q[2] * y + q[3]).sin() + q[4] * (q[5] * x + q[6] * y + q[7]).sin()


def _turn(x: Tensor, z: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    c, s = angle.cos(), angle.sin()
    return c * x + s * z, c * z - s * x


def sway_twist(p: Tensor, q: Tensor) -> Tensor:
    """Phi of a SUPERQUADRIC."""
    x, y, z = p
    x, z = _turn(x, z, q[5] * y)
    return torch.stack((x + q[0] * (q[4] * y + q[1]).sin(), y, z + q[2] * (q[4] * y + q[3]).sin()))


def unsway_untwist(p: Tensor, q: Tensor) -> Tensor:
    """Inverse of `sway_twist`."""
    x, y, z = p
    x = x - q[0] * (q[4] * y + q[1]).sin()
    z = z - q[2] * (q[4] * y + q[3]).sin()
    x, z = _turn(x, z, -q[5] * y)
    return torch.stack((x, y, z))


def apply(kind: Tensor, p: Tensor, q: Tensor, *, inverse: bool = False) -> Tensor:
    """phi_t (or its inverse) of points (3, M) of kinds (M,) with parameters q (8, M)."""
    move = unsway_untwist if inverse else sway_twist
    if torch.compiler.is_compiling():
        height = sheet_height(p[0], p[1], q)
        waves = torch.stack((p[0], p[1], p[2] + (-height if inverse else height)))
        out = torch.where(kind == ShapeKind.SUPERQUADRIC.value, move(p, q), p)
        return torch.where(kind == ShapeKind.SHEET.value, waves, out)
    out = p.clone()
    bent = (kind == ShapeKind.SUPERQUADRIC.value).nonzero()[:, 0]
    if len(bent):
        out[:, bent] = move(p[:, bent], q[:, bent])
    waved = (kind == ShapeKind.SHEET.value).nonzero()[:, 0]
    if len(waved):
        height = sheet_height(p[0, waved], p[1, waved], q[:, waved])
        out[2, waved] = p[2, waved] + (-height if inverse else height)
    return out


def bound(kind: Tensor, q: Tensor) -> Tensor:
    """Half extents (..., 3) that hold the deformed unit shape; kind (...,), q (..., 8)."""
    one = torch.ones_like(q[..., 0])
    twist = torch.where(q[..., 5] != 0, 2**0.5 * one, one)
    bent = torch.stack((twist + q[..., 0].abs(), one, twist + q[..., 2].abs()), -1)
    sheet = torch.stack((one, one, q[..., 0].abs() + q[..., 4].abs() + 0.01), -1)
    unit = torch.ones_like(bent)
    out = torch.where((kind == ShapeKind.SUPERQUADRIC.value)[..., None], bent, unit)
    return torch.where((kind == ShapeKind.SHEET.value)[..., None], sheet, out)

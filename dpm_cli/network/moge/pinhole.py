"""From MoGe's affine point map to a pinhole camera: its shift along z, its focal length, then depth.

The map is right up to one shift s along z and one scale. The camera is central with square pixels, so s and the focal
length f minimise |f xy / (z + s) - uv|^2 over the pixels with a surface. f follows from s in closed form; s is looked
for between the camera plane and infinity, on a grid and then by the golden section. (The public code runs
Levenberg-Marquardt from s = 0 and stops early.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.network.moge.model import MogeMaps
from dpm_cli.network.moge.pyramid import view_plane

SAMPLES = 64
"""Rows and columns of the pixels that are looked at."""
_CANDIDATES = 192
_SECTIONS = 50
_GOLDEN = (5**0.5 - 1) / 2
_NEAREST, _FARTHEST = 1e-4, 1e3
"""Distances of the nearest point to the camera plane that are tried, of the largest extent of the points."""


@dataclass(frozen=True, eq=False)
class PinholeFit:
    """Camera of B point maps."""

    focal: Tensor
    """(B,) in half diagonals of the image."""
    shift: Tensor
    """(B,) units of the points, to be added to z."""


@dataclass(frozen=True, eq=False)
class MogeView:
    """Depth and camera of B images."""

    depth: Tensor
    """(B, H, W) z in metres."""
    valid: Tensor
    """(B, H, W) bool: a surface in front of the camera."""
    points: Tensor
    """(B, H, W, 3) camera frame, metres: `depth` on the pixels' rays."""
    intrinsics: Tensor
    """(B, 3, 3) in shares of the image's width and height."""
    fit: PinholeFit


def fit_pinhole(points: Tensor, mask: Tensor, focal: Tensor | None = None) -> PinholeFit:
    """Shift and focal length of point maps (B, H, W, 3) where mask (B, H, W) bool; `focal` (B,) if it is known.

    Maps with fewer than two pixels get focal 1 and shift 0.
    """
    height, width = mask.shape[1:]
    plane = view_plane((height, width), width / height, points.device).movedim(0, -1)
    rows = torch.arange(SAMPLES, device=points.device) * height // SAMPLES
    columns = torch.arange(SAMPLES, device=points.device) * width // SAMPLES
    some = (slice(None), rows[:, None], columns[None])
    p, w = points[some].flatten(1, 2).double(), mask[some].flatten(1).double()
    uv = plane[some[1:]].flatten(0, 1).double()
    nearest = torch.where(w > 0, p[..., 2], torch.inf).amin(1)
    empty = w.sum(1) < 2
    nearest = torch.where(empty, 1.0, nearest)
    extent = torch.where(w[..., None] > 0, p, 0.0).abs().amax((1, 2)).clamp_min(1e-9)

    def shift_of(t: Tensor) -> Tensor:
        return t.exp() * extent - nearest

    def cost(t: Tensor) -> Tensor:
        return _cost(p, w, uv, shift_of(t), focal)

    limits = torch.tensor((_NEAREST, _FARTHEST), dtype=p.dtype, device=p.device).log()
    tries = torch.linspace(float(limits[0]), float(limits[1]), _CANDIDATES, device=p.device)
    costs = torch.stack([cost(t.expand(len(p)).double()) for t in tries])
    best = tries[costs.argmin(0)].double()
    step = float(limits[1] - limits[0]) / (_CANDIDATES - 1)
    low, high = best - step, best + step
    for _ in range(_SECTIONS):
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        left = cost(a) < cost(b)
        low, high = torch.where(left, low, a), torch.where(left, b, high)
    shift = torch.where(empty, 0.0, shift_of((low + high) / 2))
    found = _focal(p, w, uv, shift) if focal is None else focal.double()
    return PinholeFit(torch.where(empty, 1.0, found), shift)


def pinhole_view(maps: MogeMaps, focal: Tensor | None = None) -> MogeView:
    """Metric depth of the network's maps; `focal` (B,) in half diagonals where it is known."""
    mask = maps.mask > 0.5
    fit = fit_pinhole(maps.points, mask, focal)
    height, width = mask.shape[1:]
    aspect = width / height
    z = maps.points[..., 2] + fit.shift.float()[:, None, None]
    intrinsics = _intrinsics(fit.focal.float(), aspect)
    depth = z * maps.metric_scale[:, None, None]
    plane = view_plane((height, width), aspect, depth.device).movedim(0, -1)
    rays = plane / fit.focal.float()[:, None, None, None]
    points = torch.cat((rays * depth[..., None], depth[..., None]), -1)
    return MogeView(depth, mask & (z > 0), points, intrinsics, fit)


def _intrinsics(focal: Tensor, aspect: float) -> Tensor:
    """(B, 3, 3) for an image of width 1 and height 1."""
    half_diagonal = 0.5 * (1 + aspect**2) ** 0.5
    K = torch.zeros(len(focal), 3, 3, device=focal.device)
    K[:, 0, 0], K[:, 1, 1] = focal * half_diagonal / aspect, focal * half_diagonal
    K[:, :2, 2], K[:, 2, 2] = 0.5, 1.0
    return K


def _focal(p: Tensor, w: Tensor, uv: Tensor, shift: Tensor) -> Tensor:
    slopes = p[..., :2] / (p[..., 2] + shift[:, None])[..., None]
    slopes = torch.where(w[..., None] > 0, slopes, 0.0)
    square = slopes.square().sum((1, 2)).clamp_min(1e-30)
    return (slopes * uv).sum((1, 2)) / square


def _cost(p: Tensor, w: Tensor, uv: Tensor, shift: Tensor, focal: Tensor | None) -> Tensor:
    """(B,) sum of squares for shifts (B,)."""
    slopes = p[..., :2] / (p[..., 2] + shift[:, None])[..., None]
    f = _focal(p, w, uv, shift) if focal is None else focal.double()
    off = f[:, None, None] * slopes - uv
    return torch.where(w[..., None] > 0, off.square(), 0.0).sum((1, 2))

"""The inner problem of robust PnP: residuals, weights and damped Newton steps, batched over pairs, float64.

The residual is the part of the moved point across its pixel's ray, weighted by focal length over distance, so near
the truth it counts pixels. The weight is not differentiated. That matters with noisy points: with the reprojection
error, or the angle, larger distances make the noise look smaller and the camera drifts backwards (measured at 2 %
noise: 5 sigma); here the noise of isotropic points has no mean pull on the pose.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dpm_cli.geometry.camera import rays
from dpm_cli.geometry.rigid import se3_exp, transform
from dpm_cli.geometry.robust import RAYLEIGH_MEDIAN, weighted_median

_WIDTH = 4.0
"""Width of the Geman-McClure weight in units of the residuals' robust deviation."""
_LEAST_CURVATURE = 0.1
_STILL = 1e-3
"""A step that moves the points by less than this share of the width, root mean square, is the last. What is left is a
third of it, and noise alone, of four thousand points, moves them by ten times as much."""


@dataclass(frozen=True, eq=False)
class PnpProblem:
    """Matches of B pairs and what depends on the pixels only."""

    points: Tensor
    """(B, N, 3)."""
    pixels: Tensor
    """(B, N, 2)."""
    weights: Tensor
    """(B, N), sum 1."""
    K: Tensor
    """(B, 3, 3)."""
    rays: Tensor
    """(B, N, 3) unit."""
    tangents: Tensor
    """(B, N, 2, 3) unit vectors across each ray."""
    focal_slope: Tensor
    """(B, N, 2) derivative of the unit ray in log focal, along the tangents."""

    @property
    def focal_px(self) -> Tensor:
        """(B, 1)."""
        return self.K[:, 0, 0, None]


@dataclass(frozen=True, eq=False)
class PnpState:
    """Residuals at a pose."""

    pose: Tensor
    """(B, 4, 4) camera from points."""
    error: Tensor
    """(B, N, 2) part of the moved point across its ray, in units of the points."""
    moved: Tensor
    """(B, N, 3) points in the camera's frame."""
    pixels_per_unit: Tensor
    """(B, N) focal length over distance."""
    size: Tensor
    """(B, N) residual in pixels; two focal lengths for a point behind the camera."""
    width: Tensor
    """(B, 1) of the robust weight, pixels."""

    def robust(self, weights: Tensor) -> Tensor:
        """Given weights (B, N) times the robust ones."""
        return weights * (self.width**2 / (self.width**2 + self.size**2)) ** 2


def make_problem(points: Tensor, pixels: Tensor, weights: Tensor, K: Tensor) -> PnpProblem:
    """Precompute rays and tangents."""
    flat = rays(pixels, K)
    norm = flat.norm(dim=-1, keepdim=True)
    ray = flat / norm
    x, _, z = ray.unbind(-1)
    first = torch.nn.functional.normalize(torch.stack((z, torch.zeros_like(x), -x), -1), dim=-1)
    tangents = torch.stack((first, torch.linalg.cross(ray, first)), -2)
    slope = -(tangents[..., :2] @ flat[..., :2, None])[..., 0] / norm
    return PnpProblem(points, pixels, weights, K, ray, tangents, slope)


def linearise(problem: PnpProblem, pose: Tensor) -> PnpState:
    """Residuals at `pose` and the robust width that follows from them."""
    moved = transform(pose, problem.points)
    distance = moved.norm(dim=-1).clamp_min(1e-12)
    scale = problem.focal_px / distance
    error = (problem.tangents @ moved[..., None])[..., 0]
    size = _size(problem, error, moved, scale)
    deviation = weighted_median(size, problem.weights)[:, None] / RAYLEIGH_MEDIAN
    return PnpState(pose, error, moved, scale, size, (_WIDTH * deviation).clamp_min(1e-4))


def system(problem: PnpProblem, state: PnpState) -> tuple[Tensor, Tensor]:
    """Rows (B, N, 2, 8), derivative in the twist (6), in log focal (1) and the error (1), and weights (B, N)."""
    lever = torch.linalg.cross(
        state.moved[..., None, :].expand_as(problem.tangents), problem.tangents
    )
    along = (problem.rays * state.moved).sum(-1)[..., None, None]
    # When a ray turns, its tangents turn with it, so the error changes the other way.
    focal = -problem.focal_slope[..., None] * along
    rows = torch.cat((problem.tangents, lever, focal, state.error[..., None]), -1)
    return rows, state.robust(problem.weights) * state.pixels_per_unit**2


def gram(a: Tensor, weights: Tensor, b: Tensor) -> Tensor:
    """Sum of w a b^T over points and components: (B, N, 2, I), (B, N), (B, N, 2, J) -> (B, I, J)."""
    return (a * weights[..., None, None]).flatten(1, 2).transpose(-1, -2) @ b.flatten(1, 2)


def refine(problem: PnpProblem, pose: Tensor, *, iterations: int) -> PnpState:
    """Robust Newton steps from `pose` (B, 4, 4), at most `iterations`; damping and acceptance are each pair's own."""
    damping = torch.full((len(problem.K),), 1e-4, dtype=pose.dtype, device=pose.device)
    bold = torch.ones_like(damping, dtype=torch.bool)
    state = linearise(problem, pose)
    for _ in range(iterations):
        rows, weights = system(problem, state)
        H, g = _curvature(rows, weights, state, bold)
        diagonal = H.diagonal(dim1=-2, dim2=-1)
        ridge = damping[:, None] * diagonal + 1e-15 * diagonal.amax(-1, keepdim=True) + 1e-30
        step = -torch.linalg.solve(H + torch.diag_embed(ridge), g)
        new = linearise(problem, se3_exp(step) @ state.pose)
        size = _size(problem, new.error, new.moved, state.pixels_per_unit)
        better = _cost(problem, size, state.width) <= _cost(problem, state.size, state.width)
        state = _choose(better, new, state)
        shorter = torch.where(bold, damping, damping * 10)
        damping = torch.where(better, damping / 10, shorter).clamp(1e-12, 1e6)
        bold = better
        shift_px = (step * (H @ step[..., None])[..., 0]).sum(-1).clamp_min(0).sqrt()
        if bool((shift_px <= _STILL * state.width[:, 0]).all()):
            break
    return state


def _curvature(
    rows: Tensor, weights: Tensor, state: PnpState, bold: Tensor
) -> tuple[Tensor, Tensor]:
    """Second derivatives (B, 6, 6) and gradient (B, 6) of half the robust cost.

    Along its residual a point's curvature falls as its weight does, by 4 x / (1 + x) of it with x the squared residual
    over the squared width. Without that term a step covers half of the way. It is left out of pairs that are not `bold`
    (B,), and where it would leave less than a tenth of some curvature, which is far from the minimum.
    """
    normal = gram(rows, weights, rows)
    H, g = normal[:, :6, :6], normal[:, :6, 7]
    x = (state.size / state.width).square()
    falling = weights * 4 * x / (1 + x) / state.error.square().sum(-1).clamp_min(1e-30)
    pull = (rows[..., :6] * rows[..., 7:]).sum(-2)
    newton = H - (pull * falling[..., None]).transpose(-1, -2) @ pull
    bold = bold & (torch.linalg.cholesky_ex(newton - _LEAST_CURVATURE * H).info == 0)
    return torch.where(bold[:, None, None], newton, H), g


def _size(problem: PnpProblem, error: Tensor, moved: Tensor, pixels_per_unit: Tensor) -> Tensor:
    behind = (problem.rays * moved).sum(-1) < 0
    return torch.where(behind, 2 * problem.focal_px, pixels_per_unit * error.norm(dim=-1))


def _cost(problem: PnpProblem, size: Tensor, width: Tensor) -> Tensor:
    return (problem.weights * size**2 / (width**2 + size**2)).sum(-1)


def _choose(condition: Tensor, new: PnpState, old: PnpState) -> PnpState:
    """Per pair the fields of `new` where `condition` (B,), else those of `old`."""
    chosen = {}
    for field in fields(old):
        a, b = getattr(new, field.name), getattr(old, field.name)
        chosen[field.name] = torch.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)
    return PnpState(**chosen)

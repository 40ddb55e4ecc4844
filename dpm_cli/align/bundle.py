"""Bundle adjustment on a coarse grid: cameras and depth that the flows of all passes agree on.

A pass alone trades turning for stepping sideways, and depth follows its camera; passes of other baselines see through
it. Unknowns are six numbers a frame and one log depth a grid point. A grid point of frame i is seen in every frame that
shares a pass with i, where the flow says, and its depth is also what the passes said of it (a prior, weak because
errors of neighbours are alike). Depths are eliminated (Schur complement; Triggs et al., Bundle Adjustment, 2000), so
each step solves a sparse system of six unknowns a frame. Residuals are robust (Geman-McClure) in units of each flow's
own median residual; what moves by itself hardly counts.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

from dpm_cli.geometry.camera import project
from dpm_cli.geometry.procrustes import weighted_median
from dpm_cli.geometry.rigid import hat, invert, se3_exp, transform

_MAX_OBSERVATIONS = 150_000
_ALIKE = 25.0
"""Grid points that share one error of depth: the prior of each is divided by it."""
_SIGMA_PX = 0.15
"""Deviation of flow that no pass is believed to beat: what is wrong with it is common to many pixels."""
_LEAST_PX = 0.02
"""Spread of residuals below which nothing is an outlier."""
_WIDTH = 2.0
"""Deviations at which a residual has a quarter of its weight."""
_ITERATIONS = 10
_ENOUGH = 1e-4
"""Relative gain of a step below which no further one is made."""
_NEAREST = 0.05
"""Depth in the other camera, of that in its own, below which a projection means nothing."""


@dataclass(frozen=True, eq=False)
class FlowGrid:
    """Flow of E passes on a grid of the working image; index 0 of the second axis is view 1."""

    pairs: np.ndarray
    """(E, 2) int64 frame numbers."""
    pixels: np.ndarray
    """(h, w, 2) float64 of the grid points."""
    flow: np.ndarray
    """(E, 2, h, w, 2) float32 pixels, view 1 to 2 and view 2 to 1."""
    weight: np.ndarray
    """(E, 2, h, w) float32 0..1: seen in the other image and not moving by itself."""

    def every(self) -> slice:
        """Rows and columns of the grid to keep, so that observations are not too many."""
        step = max(1, int(np.ceil(np.sqrt(self.weight.size / _MAX_OBSERVATIONS))))
        return slice(step // 2, None, step)

    def thinned(self) -> "FlowGrid":
        """On a coarser grid where observations are many."""
        some = (self.every(), self.every())
        return FlowGrid(
            self.pairs, self.pixels[some], self.flow[:, :, *some], self.weight[:, :, *some]
        )


@dataclass(frozen=True, eq=False)
class Bundle:
    """Cameras and depth after adjustment."""

    cam2world: np.ndarray
    """(T, 4, 4)."""
    log_depth: np.ndarray
    """(T, h, w) float64."""
    support: np.ndarray
    """(T, h, w) 0..1: share that the flows have in that depth; the rest is the prior."""
    confidence: np.ndarray
    """(T, h, w) 1 / expected relative error of that depth."""


@dataclass(frozen=True, eq=False)
class _Frame:
    """What frame i is seen as elsewhere: K other frames, P grid points."""

    number: int
    others: Tensor
    """(K,)."""
    rays: Tensor
    """(P, 3) with z = 1."""
    target: Tensor
    """(K, P, 2) pixels in the others."""
    weight: Tensor
    """(K, P)."""


@dataclass(frozen=True, eq=False)
class _Normal:
    """Normal equations of one frame's observations with its depths eliminated."""

    cameras: Tensor
    """(K + 1,) frame numbers: its own, then the others."""
    matrix: Tensor
    """(6 (K + 1), 6 (K + 1))."""
    gradient: Tensor
    """(6 (K + 1),)."""
    coupling: Tensor
    """(P, 6 (K + 1)) between depths and cameras."""
    curvature: Tensor
    """(P,) of the depths."""
    slope: Tensor
    """(P,) of the depths."""
    data: Tensor
    """(P,) the flows' part of the curvature."""


class _Problem:
    """Observations, prior and intrinsics; all float64."""

    def __init__(self, grid: FlowGrid, K: Tensor, log_depth: Tensor, confidence: Tensor):
        self.K = K
        self.prior = log_depth
        self.pull = confidence.square() / _ALIKE
        pixels = torch.from_numpy(grid.pixels).reshape(-1, 2)
        flow = torch.from_numpy(grid.flow).double().flatten(2, 3)
        weight = torch.from_numpy(grid.weight).double().flatten(2)
        homogeneous = torch.cat((pixels, torch.ones_like(pixels[:, :1])), -1)
        self.frames = []
        for i in range(len(K)):
            rows, views = np.nonzero(grid.pairs == i)
            if not len(rows):
                continue
            self.frames.append(
                _Frame(
                    i,
                    torch.from_numpy(grid.pairs[rows, 1 - views]),
                    homogeneous @ torch.linalg.inv(K[i]).T,
                    pixels + flow[rows, views],
                    weight[rows, views],
                )
            )

    def residuals(
        self, frame: _Frame, cam2world: Tensor, log_depth: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Residual (K, P, 2) in pixels, its weight, points (P, 3) in their own and (K, P, 3) in the other cameras."""
        own = frame.rays * log_depth[frame.number].exp()[:, None]
        there = invert(cam2world[frame.others]) @ cam2world[frame.number]
        seen = transform(there, own.expand(len(there), -1, -1))
        before = seen[..., 2] > _NEAREST * own[:, 2]
        seen = torch.where(before[..., None], seen, own)
        r = project(seen, self.K[frame.others]) - frame.target
        return r, frame.weight * before, own, seen

    def spreads(self, cam2world: Tensor, log_depth: Tensor) -> list[Tensor]:
        """Deviation (K, 1) of each flow's residuals, per frame."""
        found = []
        for frame in self.frames:
            r, weight, _, _ = self.residuals(frame, cam2world, log_depth)
            found.append(weighted_median(r.norm(dim=-1), weight)[:, None].clamp_min(_LEAST_PX))
        return found

    def cost(self, cam2world: Tensor, log_depth: Tensor, spreads: list[Tensor]) -> float:
        """Robust cost of residuals and prior."""
        total = 0.5 * float((self.pull * (log_depth - self.prior).square()).sum())
        for frame, spread in zip(self.frames, spreads, strict=True):
            r, weight, _, _ = self.residuals(frame, cam2world, log_depth)
            square = (r / spread[..., None]).square().sum(-1)
            believed = (spread / spread.clamp_min(_SIGMA_PX)).square()
            total += 0.5 * float((weight * believed * square / (1 + square / _WIDTH**2)).sum())
        return total

    def normal(
        self, frame: _Frame, cam2world: Tensor, log_depth: Tensor, spread: Tensor
    ) -> _Normal:
        """Linearise about the current unknowns; cameras move by a twist from the right."""
        r, weight, own, seen = self.residuals(frame, cam2world, log_depth)
        square = (r / spread[..., None]).square().sum(-1)
        robust = weight / (1 + square / _WIDTH**2).square()
        w = robust / spread.clamp_min(_SIGMA_PX).square()
        slopes = _projection_slopes(seen, self.K[frame.others])
        there = invert(cam2world[frame.others]) @ cam2world[frame.number]
        turned = slopes @ there[:, None, :3, :3]
        eye = torch.eye(3, dtype=own.dtype)
        own_rows = turned @ torch.cat((eye.expand(len(own), 3, 3), -hat(own)), -1)
        other_rows = -slopes @ torch.cat((eye.expand(*seen.shape[:2], 3, 3), -hat(seen)), -1)
        depth_rows = (turned @ own[..., None])[..., 0]
        return _eliminate(
            frame,
            own_rows,
            other_rows,
            depth_rows,
            r,
            w,
            self.pull[frame.number],
            log_depth[frame.number] - self.prior[frame.number],
        )


def adjust(
    grid: FlowGrid,
    cam2world: np.ndarray,
    intrinsics: np.ndarray,
    log_depth: np.ndarray,
    confidence: np.ndarray,
    free: np.ndarray,
) -> Bundle:
    """Refine cameras and depth of T frames.

    Args:
        grid: flows of the passes to believe.
        cam2world: (T, 4, 4) start.
        intrinsics: (T, 3, 3) at the working size.
        log_depth: (T, h, w) start and prior, own-camera z, world units.
        confidence: (T, h, w) of the prior, 1 / relative error; 0 = none.
        free: (T,) bool, cameras that may move.
    """
    shape = log_depth.shape
    K, x = torch.from_numpy(intrinsics).double(), torch.from_numpy(cam2world).double()
    d = torch.from_numpy(log_depth).double().flatten(1)
    problem = _Problem(grid, K, d, torch.from_numpy(confidence).double().flatten(1) + 1e-3)
    damping = 1e-4
    parts: list[_Normal] = []
    for _ in range(_ITERATIONS):
        spreads = problem.spreads(x, d)
        parts = [problem.normal(f, x, d, s) for f, s in zip(problem.frames, spreads, strict=True)]
        before = problem.cost(x, d, spreads)
        step = _camera_step(parts, len(K), free, damping)
        moved = d.clone()
        for part in parts:
            own = step[part.cameras].flatten()
            moved[part.cameras[0]] -= ((part.slope + part.coupling @ own) / part.curvature).clamp(
                -0.5, 0.5
            )
        turned = x @ se3_exp(step)
        after = problem.cost(turned, moved, spreads)
        if after < before:
            x, d, damping = turned, moved, damping / 10
            if before - after < _ENOUGH * before:
                break
        else:
            damping *= 100
            if damping > 1e4:
                break
    support, curvature = torch.zeros_like(d), problem.pull.clone()
    for part in parts:
        support[part.cameras[0]] = part.data / part.curvature
        curvature[part.cameras[0]] = part.curvature
    return Bundle(
        x.numpy(),
        d.reshape(shape).numpy(),
        support.reshape(shape).numpy(),
        curvature.sqrt().reshape(shape).numpy(),
    )


def _projection_slopes(points: Tensor, K: Tensor) -> Tensor:
    """Change (K, P, 2, 3) of the pixels of points (K, P, 3) seen by cameras with intrinsics (K, 3, 3)."""
    x, y, z = points.unbind(-1)
    fx, fy = K[:, 0, 0, None], K[:, 1, 1, None]
    zero = torch.zeros_like(z)
    rows = (fx / z, zero, -fx * x / z.square(), zero, fy / z, -fy * y / z.square())
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def _eliminate(
    frame: _Frame,
    own_rows: Tensor,
    other_rows: Tensor,
    depth_rows: Tensor,
    r: Tensor,
    w: Tensor,
    pull: Tensor,
    off: Tensor,
) -> _Normal:
    """Normal equations of one frame; rows are (K, P, 2, 6) and (K, P, 2), weights (K, P)."""
    count, points = w.shape
    weighted_own, weighted_other = own_rows * w[..., None, None], other_rows * w[..., None, None]
    size = 6 * (count + 1)
    matrix = r.new_zeros(count + 1, 6, count + 1, 6)
    gradient = r.new_zeros(count + 1, 6)
    coupling = r.new_zeros(points, count + 1, 6)
    matrix[0, :, 0] = torch.einsum("kpca,kpcb->ab", weighted_own, own_rows)
    index = torch.arange(1, count + 1)
    matrix[index, :, index] = torch.einsum("kpca,kpcb->kab", weighted_other, other_rows)
    mixed = torch.einsum("kpca,kpcb->kab", weighted_own, other_rows)
    matrix[0, :, 1:] = mixed.transpose(0, 1)
    matrix[1:, :, 0] = mixed.transpose(1, 2)
    gradient[0] = torch.einsum("kpca,kpc->a", weighted_own, r)
    gradient[1:] = torch.einsum("kpca,kpc->ka", weighted_other, r)
    coupling[:, 0] = torch.einsum("kpca,kpc->pa", weighted_own, depth_rows)
    coupling[:, 1:] = torch.einsum("kpca,kpc->pka", weighted_other, depth_rows)
    data = (w[..., None] * depth_rows.square()).sum((0, 2))
    slope = (w[..., None] * depth_rows * r).sum((0, 2)) + pull * off
    coupling = coupling.reshape(points, size)
    scaled = coupling / (data + pull)[:, None]
    return _Normal(
        torch.cat((torch.tensor([frame.number]), frame.others)),
        matrix.reshape(size, size) - coupling.T @ scaled,
        gradient.flatten() - scaled.T @ slope,
        coupling,
        data + pull,
        slope,
        data,
    )


def _camera_step(parts: list[_Normal], frames: int, free: np.ndarray, damping: float) -> Tensor:
    """Step (T, 6) of the cameras; those not free stay."""
    rows, columns, values = [], [], []
    gradient = torch.zeros(frames, 6, dtype=torch.float64)
    six = torch.arange(6)
    for part in parts:
        place = (part.cameras[:, None] * 6 + six).flatten()
        rows.append(place[:, None].expand_as(part.matrix).flatten())
        columns.append(place[None].expand_as(part.matrix).flatten())
        values.append(part.matrix.flatten())
        gradient.view(-1).index_add_(0, place, part.gradient)
    unknown = np.flatnonzero(np.repeat(free, 6))
    step = np.zeros(6 * frames)
    if len(unknown) and parts:
        i, j = (torch.cat(v).numpy() for v in (rows, columns))
        size = (6 * frames, 6 * frames)
        normal = coo_matrix((torch.cat(values).numpy(), (i, j)), shape=size).tocsr()
        normal = normal[unknown][:, unknown]
        diagonal = normal.diagonal()
        ridge = damping * diagonal + 1e-12 * diagonal.max(initial=0.0) + 1e-30
        ridge = coo_matrix((ridge, (np.arange(len(unknown)),) * 2), shape=normal.shape)
        step[unknown] = splu((normal + ridge).tocsc()).solve(-gradient.flatten().numpy()[unknown])
    return torch.from_numpy(step).view(frames, 6).clamp(-0.5, 0.5)

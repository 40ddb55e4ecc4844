"""What bundle adjustment minimises, and its normal equations with the depths eliminated.

A grid point of frame i is seen in every frame that shares a pass with i, where the flow says, and its depth is also
what the passes said of it (a prior, weak because errors of neighbours are alike). Residuals are robust (Geman-McClure)
in units of each flow's own median residual; what moves by itself hardly counts.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry.camera import project
from dpm_cli.geometry.rigid import hat, invert, transform
from dpm_cli.geometry.robust import weighted_median

_MAX_OBSERVATIONS = 150_000
_ALIKE = 25.0
"""Grid points that share one error of depth: the prior of each is divided by it."""
_LEAST_SURE = 1e-3
"""Confidence of depth where nothing is known of it, so that every point has a place."""
_SIGMA_PX = 0.15
"""Deviation of flow that no pass is believed to beat: what is wrong with it is common to many pixels."""
_LEAST_PX = 0.02
"""Spread of residuals below which nothing is an outlier."""
_WIDTH = 2.0
"""Deviations at which a residual has a quarter of its weight."""
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
    spacing_px: int
    """Between neighbouring grid points."""

    @classmethod
    def on_image(
        cls,
        pairs: np.ndarray,
        flow: np.ndarray,
        weight: np.ndarray,
        size: tuple[int, int],
        spacing_px: int,
    ) -> "FlowGrid":
        """The fields above, taken every `spacing_px` pixels of an image of (height, width) from half of that on."""
        rows, columns = np.mgrid[tuple(slice(spacing_px // 2, side, spacing_px) for side in size)]
        return cls(
            pairs, np.stack((columns, rows), -1).astype(np.float64), flow, weight, spacing_px
        )

    def select(self, keep: np.ndarray) -> "FlowGrid":
        """The passes of a mask (E,)."""
        return replace(self, pairs=self.pairs[keep], flow=self.flow[keep], weight=self.weight[keep])

    def every(self) -> slice:
        """Rows and columns of the grid to keep, so that observations are not too many."""
        step = max(1, int(np.ceil(np.sqrt(self.weight.size / _MAX_OBSERVATIONS))))
        return slice(step // 2, None, step)

    def thinned(self) -> "FlowGrid":
        """On a coarser grid where observations are many."""
        every = self.every()
        some = (every, every)
        return FlowGrid(
            self.pairs,
            self.pixels[some],
            self.flow[:, :, *some],
            self.weight[:, :, *some],
            self.spacing_px * (every.step or 1),
        )


@dataclass(frozen=True, eq=False)
class State:
    """The unknowns, float64."""

    cam2world: Tensor
    """(T, 4, 4)."""
    log_depth: Tensor
    """(T, P)."""
    log_focal: Tensor
    """() log of the factor that the focal length of all frames is changed by."""


@dataclass(frozen=True, eq=False)
class FrameFlows:
    """What frame i is seen as elsewhere: K other frames, P grid points."""

    number: int
    others: Tensor
    """(K,)."""
    rays: Tensor
    """(P, 3) with z = 1 at the first focal length."""
    target: Tensor
    """(K, P, 2) pixels in the others."""
    weight: Tensor
    """(K, P)."""


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations of one frame's observations with its depths eliminated.

    Their unknowns are the twists of its own camera and of the K others, and last the log focal length.
    """

    cameras: Tensor
    """(K + 1,) frame numbers: its own, then the others."""
    matrix: Tensor
    """(6 (K + 1) + 1, 6 (K + 1) + 1)."""
    gradient: Tensor
    """(6 (K + 1) + 1,)."""
    coupling: Tensor
    """(P, 6 (K + 1) + 1) between depths and the others."""
    curvature: Tensor
    """(P,) of the depths."""
    slope: Tensor
    """(P,) of the depths."""
    data: Tensor
    """(P,) the flows' part of the curvature."""


def prior_pull(confidence: np.ndarray) -> np.ndarray:
    """Curvature (T, h, w) float64 that a prior of this confidence (T, h, w) has, for neighbours share its errors."""
    return (confidence.astype(np.float64) + _LEAST_SURE) ** 2 / _ALIKE


class Problem:
    """Observations, priors and intrinsics; all float64."""

    def __init__(
        self,
        grid: FlowGrid,
        K: Tensor,
        log_depth: Tensor,
        pull: Tensor,
        focal_sigma_log: float,
    ):
        self.K = K
        self.prior = log_depth
        self.pull = pull
        self.focal_pull = focal_sigma_log**-2 if focal_sigma_log > 0 else 0.0
        pixels = torch.from_numpy(grid.pixels).reshape(-1, 2)
        flow = torch.from_numpy(grid.flow).double().flatten(2, 3)
        weight = torch.from_numpy(grid.weight).double().flatten(2)
        homogeneous = torch.cat((pixels, torch.ones_like(pixels[:, :1])), -1)
        self.frames: list[FrameFlows] = []
        for i in range(len(K)):
            rows, views = np.nonzero(grid.pairs == i)
            if not len(rows):
                continue
            self.frames.append(
                FrameFlows(
                    i,
                    torch.from_numpy(grid.pairs[rows, 1 - views]),
                    homogeneous @ torch.linalg.inv(K[i]).T,
                    pixels + flow[rows, views],
                    weight[rows, views],
                )
            )

    def intrinsics(self, log_focal: Tensor) -> Tensor:
        """(T, 3, 3) with the focal lengths changed."""
        factor = torch.ones_like(self.K)
        factor[:, (0, 1), (0, 1)] = log_focal.exp()
        return self.K * factor

    def residuals(self, frame: FrameFlows, x: State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Residual (K, P, 2) in pixels, its weight, points (P, 3) in their own and (K, P, 3) in the other cameras."""
        shrink = torch.stack((-x.log_focal, -x.log_focal, torch.zeros_like(x.log_focal))).exp()
        own = frame.rays * shrink * x.log_depth[frame.number].exp()[:, None]
        there = invert(x.cam2world[frame.others]) @ x.cam2world[frame.number]
        seen = transform(there, own.expand(len(there), -1, -1))
        before = seen[..., 2] > _NEAREST * own[:, 2]
        seen = torch.where(before[..., None], seen, own)
        r = project(seen, self.intrinsics(x.log_focal)[frame.others]) - frame.target
        return r, frame.weight * before, own, seen

    def spreads(self, x: State) -> list[Tensor]:
        """Deviation (K, 1) of each flow's residuals, per frame."""
        found = []
        for frame in self.frames:
            r, weight, _, _ = self.residuals(frame, x)
            found.append(weighted_median(r.norm(dim=-1), weight)[:, None].clamp_min(_LEAST_PX))
        return found

    def cost(self, x: State, spreads: list[Tensor]) -> float:
        """Robust cost of residuals and priors."""
        total = 0.5 * float((self.pull * (x.log_depth - self.prior).square()).sum())
        total += 0.5 * self.focal_pull * float(x.log_focal) ** 2
        for frame, spread in zip(self.frames, spreads, strict=True):
            r, weight, _, _ = self.residuals(frame, x)
            square = (r / spread[..., None]).square().sum(-1)
            believed = (spread / spread.clamp_min(_SIGMA_PX)).square()
            total += 0.5 * float((weight * believed * square / (1 + square / _WIDTH**2)).sum())
        return total

    def normal(self, frame: FrameFlows, x: State, spread: Tensor) -> Normal:
        """Linearise about the current unknowns; cameras move by a twist from the right."""
        r, weight, own, seen = self.residuals(frame, x)
        square = (r / spread[..., None]).square().sum(-1)
        robust = weight / (1 + square / _WIDTH**2).square()
        w = robust / spread.clamp_min(_SIGMA_PX).square()
        K = self.intrinsics(x.log_focal)[frame.others]
        slopes = _projection_slopes(seen, K)
        there = invert(x.cam2world[frame.others]) @ x.cam2world[frame.number]
        turned = slopes @ there[:, None, :3, :3]
        eye = torch.eye(3, dtype=own.dtype)
        sideways = own * own.new_tensor((1.0, 1.0, 0.0))
        off_centre = r + frame.target - K[:, None, :2, 2]
        rows = _Rows(
            own=turned @ torch.cat((eye.expand(len(own), 3, 3), -hat(own)), -1),
            other=-slopes @ torch.cat((eye.expand(*seen.shape[:2], 3, 3), -hat(seen)), -1),
            focal=off_centre - (turned @ sideways[..., None])[..., 0],
            depth=(turned @ own[..., None])[..., 0],
        )
        pull, off = self.pull[frame.number], (x.log_depth - self.prior)[frame.number]
        return _eliminate(frame, rows, r, w, pull, off)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Change of the residuals per unit of each unknown."""

    own: Tensor
    """(K, P, 2, 6)."""
    other: Tensor
    """(K, P, 2, 6)."""
    focal: Tensor
    """(K, P, 2)."""
    depth: Tensor
    """(K, P, 2)."""


def _projection_slopes(points: Tensor, K: Tensor) -> Tensor:
    """Change (K, P, 2, 3) of the pixels of points (K, P, 3) seen by cameras with intrinsics (K, 3, 3)."""
    x, y, z = points.unbind(-1)
    fx, fy = K[:, 0, 0, None], K[:, 1, 1, None]
    zero = torch.zeros_like(z)
    rows = (fx / z, zero, -fx * x / z.square(), zero, fy / z, -fy * y / z.square())
    return torch.stack(rows, -1).unflatten(-1, (2, 3))


def _eliminate(
    frame: FrameFlows, rows: _Rows, r: Tensor, w: Tensor, pull: Tensor, off: Tensor
) -> Normal:
    """Normal equations of one frame from residuals (K, P, 2) and weights (K, P)."""
    count = len(w)
    own, other = rows.own * w[..., None, None], rows.other * w[..., None, None]
    size = 6 * (count + 1)
    cameras = r.new_zeros(count + 1, 6, count + 1, 6)
    cameras[0, :, 0] = torch.einsum("kpca,kpcb->ab", own, rows.own)
    index = torch.arange(1, count + 1)
    cameras[index, :, index] = torch.einsum("kpca,kpcb->kab", other, rows.other)
    mixed = torch.einsum("kpca,kpcb->kab", own, rows.other)
    cameras[0, :, 1:] = mixed.transpose(0, 1)
    cameras[1:, :, 0] = mixed.transpose(1, 2)

    def against(values: Tensor, over: str) -> Tensor:
        """Products of the cameras' rows with values (K, P, 2), own camera first."""
        first = torch.einsum(f"kpca,kpc->{over.replace('k', '')}", own, values)
        rest = torch.einsum(f"kpca,kpc->{over}", other, values)
        return torch.cat((first.unsqueeze(-2), rest), -2).flatten(-2)

    focal = rows.focal * w[..., None]
    beside = against(rows.focal, "ka")
    matrix = r.new_zeros(size + 1, size + 1)
    matrix[:size, :size] = cameras.reshape(size, size)
    matrix[:size, size] = matrix[size, :size] = beside
    matrix[size, size] = (focal * rows.focal).sum()
    gradient = torch.cat((against(r, "ka"), (focal * r).sum()[None]))
    coupling = torch.cat((against(rows.depth, "pka"), (focal * rows.depth).sum((0, 2))[:, None]), 1)
    data = (w[..., None] * rows.depth.square()).sum((0, 2))
    slope = (w[..., None] * rows.depth * r).sum((0, 2)) + pull * off
    scaled = coupling / (data + pull)[:, None]
    return Normal(
        torch.cat((torch.tensor([frame.number]), frame.others)),
        matrix - coupling.T @ scaled,
        gradient - scaled.T @ slope,
        coupling,
        data + pull,
        slope,
        data,
    )

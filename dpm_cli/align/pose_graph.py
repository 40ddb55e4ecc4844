"""Robust least squares on cameras, depth levels of frames and log scales of passes.

A pass (i, j) measures eight numbers, each with its deviation:
    the twist between predicted and measured relative camera     log( T_j^-1 T_i [R | e^a t]^-1 )     6
    its depth against either frame's level                       a + offset_i - b_i,  a + offset_j - b_j     2
The scale `a` appears in this pass only and is eliminated in closed form (a projection of the eight rows). What is left
are seven unknowns a frame: a sparse symmetric system, solved with Levenberg-Marquardt damping.

First the cameras alone, with a cost that is nearly L1, because a wrong pass in the starting tree fits perfectly and
must be outvoted (scales stay: a world that shrinks would lessen what wrong passes cost). Then everything, with
Geman-McClure. Widths follow the median misfit, so covariances need to be right only up to a common factor.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from torch import Tensor

from dpm_cli.align.normal_solve import solve_normal
from dpm_cli.align.scales import DepthOffsets
from dpm_cli.geometry.rigid import adjoint, invert, rigid, se3_exp, se3_log

_WIDTH = 8.0
"""Misfit (1 = typical) at which Geman-McClure leaves a quarter of the weight."""
_POSE_CHI2, _DEPTH_CHI2 = 5.348, 0.455
"""Medians of chi-square with six degrees of freedom and with one."""


@dataclass(frozen=True, eq=False)
class GraphState:
    """The unknowns, and how far each pass is believed."""

    cam2world: Tensor
    """(T, 4, 4)."""
    level: Tensor
    """(T,)."""
    log_scale: Tensor
    """(E,)."""
    weight: Tensor
    """(E,) 0..1, of the pose times that of the depth."""
    chi2: Tensor
    """(E,) square misfit of the pose, in units of its covariance, a number of freedom; 1 is typical."""


@dataclass(frozen=True, eq=False)
class PassMeasurements:
    """What E passes say, ready for the solver."""

    frames_1: Tensor
    frames_2: Tensor
    pose: Tensor
    """(E, 4, 4) cam2_from_cam1, pass units."""
    whiten: Tensor
    """(E, 6, 6) with whiten^T whiten = inverse covariance, lengths in units of the first frame's depth level.

    With world units, a world that shrinks would fit everything better; with the pass's own, a wrong pass that grows
    would fit itself.
    """
    offset: Tensor
    """(E, 2)."""
    sigma: Tensor
    """(E, 2)."""

    @classmethod
    def make(
        cls,
        pairs: np.ndarray,
        pose: np.ndarray,
        covariance: np.ndarray,
        offsets: DepthOffsets,
    ) -> "PassMeasurements":
        """From poses with covariances in pass units."""
        precision = np.linalg.inv(covariance)
        root = (
            np.linalg.cholesky((precision + precision.transpose(0, 2, 1)) / 2)
            .transpose(0, 2, 1)
            .copy()
        )
        root[:, :, :3] *= np.exp(offsets.offset[:, 0])[:, None, None]
        i, j = torch.from_numpy(pairs).T
        given = (torch.from_numpy(v.copy()) for v in (pose, root, offsets.offset, offsets.sigma))
        return cls(i, j, *given)


@dataclass(frozen=True, eq=False)
class _Unknowns:
    cam2world: Tensor
    level: Tensor
    log_scale: Tensor


@dataclass(frozen=True, eq=False)
class _Common:
    """Factors by which variances are too small: of all passes, and of each (E,), as the passes that it is judged by."""

    of_all: tuple[float, float]
    pose: Tensor
    depth: Tensor


@dataclass(frozen=True, eq=False)
class _Misfit:
    """Misfits (E,) of pose and depth, 1 = typical."""

    pose: Tensor
    depth: Tensor
    size: Tensor
    """(2 E,) what a unit of either costs."""

    def weights(self, convex: bool) -> tuple[Tensor, Tensor]:
        if convex:
            return (1 + self.pose).rsqrt(), (1 + self.depth).rsqrt()
        return (_WIDTH / (_WIDTH + self.pose)) ** 2, (_WIDTH / (_WIDTH + self.depth)) ** 2

    def cost(self, convex: bool) -> float:
        both = torch.cat((self.pose, self.depth))
        if convex:
            return float((self.size * 2 * ((1 + both).sqrt() - 1)).sum())
        return float((self.size * _WIDTH * both / (_WIDTH + both)).sum())


def optimise(
    measured: PassMeasurements,
    cam2world: np.ndarray,
    level: np.ndarray,
    log_scale: np.ndarray,
    anchors: np.ndarray,
    trusted: np.ndarray,
    *,
    iterations: int = 25,
) -> GraphState:
    """Refine cameras, levels and scales.

    Args:
        measured: E passes.
        cam2world: (T, 4, 4) start.
        level: (T,) start.
        log_scale: (E,) start.
        anchors: (T,) bool, frames that stay where they are: one in each connected part.
        trusted: (E,) bool, passes that are outvoted by each other only: they are judged by their own median misfit.
        iterations: at most, for either cost; a phase stops when steps are below 1e-8 or nothing gets better.
    """
    x = _Unknowns(*(torch.from_numpy(v.copy()) for v in (cam2world, level, log_scale)))
    free = np.repeat(~anchors, 7)
    cameras = free & (np.arange(len(free)) % 7 < 6)
    own = torch.from_numpy(trusted)
    x = _descend(measured, x, cameras, True, iterations, own)
    x = _descend(measured, x, free, False, iterations, own)
    residual, _ = _residual(measured, x)
    common = _common(measured, residual, own)
    pose, depth = _misfit(residual, common).weights(convex=False)
    chi2 = residual[:, :6].square().sum(-1) / 6
    return GraphState(x.cam2world, x.level, x.log_scale, pose * depth, chi2)


def _descend(
    m: PassMeasurements,
    x: _Unknowns,
    free: np.ndarray,
    convex: bool,
    iterations: int,
    trusted: Tensor,
) -> _Unknowns:
    """Levenberg-Marquardt on the unknowns in `free` (7 T,) bool; the convex cost leaves the scales alone.

    The common factors of the misfits are those of the last accepted step.
    """
    damping, (residual, twist) = 1e-6, _residual(m, x)
    for _ in range(iterations):
        common = _common(m, residual, trusted)
        misfit = _misfit(residual, common)
        pose, depth = misfit.weights(convex)
        root = torch.cat((pose[:, None].expand(-1, 6), depth[:, None].expand(-1, 2)), -1) / (
            torch.tensor((common.of_all[0],) * 6 + (common.of_all[1],) * 2, dtype=pose.dtype)
        )
        step, scale_step = _step(
            m, x, residual, twist, root.sqrt(), np.flatnonzero(free), damping, convex
        )
        moved = x.cam2world @ se3_exp(step[:, :6])
        new = _Unknowns(moved, x.level + step[:, 6], x.log_scale + scale_step.clamp(-0.5, 0.5))
        new_residual, new_twist = _residual(m, new)
        if _misfit(new_residual, common).cost(convex) <= misfit.cost(convex):
            x, residual, twist, damping = new, new_residual, new_twist, damping / 10
            if float(step.abs().max()) < 1e-8:
                break
        else:
            damping = max(damping * 30, 1e-6)
            if damping > 1e3:
                break
    return x


def _residual(m: PassMeasurements, x: _Unknowns) -> tuple[Tensor, Tensor]:
    """Whitened residual (E, 8) and the pose's twist (E, 6), lengths in units of the first frame's level."""
    predicted = invert(x.cam2world[m.frames_2]) @ x.cam2world[m.frames_1]
    scaled = rigid(m.pose[:, :3, :3], x.log_scale.exp()[:, None] * m.pose[:, :3, 3])
    shift, turn = se3_log(predicted @ invert(scaled)).split(3, -1)
    twist = torch.cat((shift * (-x.level[m.frames_1]).exp()[:, None], turn), -1)
    levels = torch.stack((x.level[m.frames_1], x.level[m.frames_2]), -1)
    depth = (x.log_scale[:, None] + m.offset - levels) / m.sigma
    return torch.cat(((m.whiten @ twist[..., None])[..., 0], depth), -1), twist


def _chi2(m: PassMeasurements, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Square misfit (E,) of the pose, and of the depth ratio, in which the pass's own scale cancels."""
    ratio = residual[:, 6] * m.sigma[:, 0] - residual[:, 7] * m.sigma[:, 1]
    return residual[:, :6].square().sum(-1), ratio.square() / m.sigma.square().sum(-1)


def _common(m: PassMeasurements, residual: Tensor, trusted: Tensor) -> _Common:
    """Factors by which the passes' variances are too small, as the median misfit says; at least one."""
    typical = (_POSE_CHI2, _DEPTH_CHI2)
    found = [(chi2 / t) for chi2, t in zip(_chi2(m, residual), typical, strict=True)]
    of_all = [max(float(v.median()), 1.0) for v in found]
    each = [torch.full_like(v, c) for v, c in zip(found, of_all, strict=True)]
    if trusted.any():
        for v, own in zip(each, found, strict=True):
            v[trusted] = v[trusted].clamp_min(float(own[trusted].median()))
    return _Common((of_all[0], of_all[1]), each[0], each[1])


def _misfit(residual: Tensor, common: _Common) -> _Misfit:
    pose = residual[:, :6].square().sum(-1) / (6 * common.pose)
    depth = residual[:, 6:].square().sum(-1) / common.depth
    size = 6 * common.pose / common.of_all[0], common.depth / common.of_all[1]
    return _Misfit(pose, depth, torch.cat(size))


def _step(
    m: PassMeasurements,
    x: _Unknowns,
    residual: Tensor,
    twist: Tensor,
    root: Tensor,
    free: np.ndarray,
    damping: float,
    fixed_scales: bool,
) -> tuple[Tensor, Tensor]:
    """Step (T, 7) of the frames and (E,) of the scales (zero if fixed); `root` (E, 8) squared weighs the rows."""
    frames = len(x.level)
    predicted = invert(x.cam2world[m.frames_2]) @ x.cam2world[m.frames_1]
    unit = (-x.level[m.frames_1]).exp()
    unit = torch.cat((unit[:, None].expand(-1, 3), torch.ones(len(unit), 3, dtype=unit.dtype)), -1)
    whiten = m.whiten * unit[:, None, :]
    rows = torch.zeros(len(residual), 8, 14, dtype=residual.dtype)
    rows[:, :6, :6], rows[:, :6, 7:13] = whiten @ adjoint(predicted), -whiten
    rows[:, :6, 6] = -(m.whiten[:, :, :3] @ twist[:, :3, None])[..., 0]
    rows[:, 6, 6], rows[:, 7, 13] = -1 / m.sigma[:, 0], -1 / m.sigma[:, 1]
    shift = x.log_scale.exp()[:, None] * m.pose[:, :3, 3]
    column = torch.cat((-(whiten[:, :, :3] @ shift[..., None])[..., 0], 1 / m.sigma), -1) * root
    column = column * (not fixed_scales)
    rows, residual = rows * root[..., None], residual * root
    unit = column / column.norm(dim=-1, keepdim=True).clamp_min(1e-150)
    reduced_rows = rows - unit[..., None] * (unit[:, None, :] @ rows)
    reduced = residual - unit * (unit * residual).sum(-1, keepdim=True)
    step = _solve(m, reduced_rows, reduced, frames, free, damping)
    own = torch.cat((step[m.frames_1], step[m.frames_2]), -1)
    left = residual + (rows @ own[..., None])[..., 0]
    return step, -(column * left).sum(-1) / column.square().sum(-1).clamp_min(1e-300)


def _solve(
    m: PassMeasurements,
    rows: Tensor,
    residual: Tensor,
    frames: int,
    free: np.ndarray,
    damping: float,
) -> Tensor:
    """Damped normal equations (7 unknowns a frame), sparse; anchored frames do not move."""
    blocks = rows.transpose(-1, -2) @ rows
    pull = (rows.transpose(-1, -2) @ residual[..., None])[..., 0]
    seven, size = torch.arange(7), 7 * frames
    index = torch.cat((m.frames_1[:, None] * 7 + seven, m.frames_2[:, None] * 7 + seven), -1)
    i, j = (v.expand_as(blocks).flatten().numpy() for v in (index[:, :, None], index[:, None, :]))
    normal = coo_matrix((blocks.flatten().numpy(), (i, j)), shape=(size, size)).tocsr()[free][
        :, free
    ]
    gradient = torch.zeros(size, dtype=pull.dtype).index_add_(0, index.flatten(), pull.flatten())
    diagonal = normal.diagonal()
    # Frames that robust weights cut off have no curvature; a ridge leaves them where they are.
    ridge = damping * diagonal + 1e-13 * diagonal.max(initial=0.0) + 1e-30
    ridge = coo_matrix((ridge, (np.arange(len(free)),) * 2), shape=normal.shape)
    step = torch.zeros(size, dtype=pull.dtype)
    if len(free):
        moved = solve_normal(normal + ridge, -gradient.numpy()[free])
        step[torch.from_numpy(free)] = torch.from_numpy(moved)
    return step.unflatten(0, (frames, 7))

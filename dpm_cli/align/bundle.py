"""Bundle adjustment on a coarse grid: cameras and depth that the flows of all passes agree on.

A pass alone trades turning for stepping sideways, and depth follows its camera; passes of other baselines see through
it. Unknowns are six numbers a frame, one log depth a grid point and, where it was not given, one focal length for all.
Depths are eliminated (Schur complement; Triggs et al., Bundle Adjustment, 2000), so each step solves a sparse system of
six unknowns a frame and one more.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor

from dpm_cli.align.bundle_problem import FlowGrid, Normal, Problem, State, prior_pull
from dpm_cli.align.normal_solve import solve_normal
from dpm_cli.geometry.rigid import se3_exp

_ITERATIONS = 10
_ENOUGH = 1e-4
"""Relative gain of a step below which no further one is made."""
_AT_ONCE = 64
"""Parts of the normal equations that are summed at the same time."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """Cameras and depth after adjustment."""

    cam2world: np.ndarray
    """(T, 4, 4)."""
    intrinsics: np.ndarray
    """(T, 3, 3)."""
    log_depth: np.ndarray
    """(T, h, w) float64."""
    support: np.ndarray
    """(T, h, w) 0..1: share that the flows have in that depth; the rest is the prior."""
    confidence: np.ndarray
    """(T, h, w) 1 / expected relative error of that depth."""

    def without_prior(self, confidence: np.ndarray) -> np.ndarray:
        """The confidence (T, h, w) if the prior had been as sure as `confidence` (T, h, w) says."""
        return np.sqrt(self.support * self.confidence**2 + prior_pull(confidence))


def adjust(
    grid: FlowGrid,
    cam2world: np.ndarray,
    intrinsics: np.ndarray,
    log_depth: np.ndarray,
    confidence: np.ndarray,
    free: np.ndarray,
    focal_sigma_log: float = 0.0,
) -> Bundle:
    """Refine cameras and depth of T frames.

    Args:
        grid: flows of the passes to believe.
        cam2world: (T, 4, 4) start.
        intrinsics: (T, 3, 3) at the working size.
        log_depth: (T, h, w) start and prior, own-camera z, world units.
        confidence: (T, h, w) of the prior, 1 / relative error; 0 = none.
        free: (T,) bool, cameras that may move.
        focal_sigma_log: deviation of the log focal length, one for all frames; 0 = it stays.
    """
    shape = log_depth.shape
    K = torch.from_numpy(intrinsics).double()
    start = torch.from_numpy(log_depth).double().flatten(1)
    pull = torch.from_numpy(prior_pull(confidence)).flatten(1)
    problem = Problem(grid, K, start, pull, focal_sigma_log)
    x = State(torch.from_numpy(cam2world).double(), start, torch.zeros((), dtype=K.dtype))
    damping = 1e-4
    parts: list[Normal] = []
    for _ in range(_ITERATIONS):
        spreads = problem.spreads(x)
        parts.clear()  # of a long clip they are the most that there is: not twice at once
        parts = [problem.normal(f, x, s) for f, s in zip(problem.frames, spreads, strict=True)]
        before = problem.cost(x, spreads)
        moved = _stepped(x, parts, *_step(parts, x, problem.focal_pull, free, damping))
        after = problem.cost(moved, spreads)
        if after < before:
            x, damping = moved, damping / 10
            if before - after < _ENOUGH * before:
                break
        else:
            damping *= 100
            if damping > 1e4:
                break
    support, curvature = torch.zeros_like(start), problem.pull.clone()
    for part in parts:
        support[part.cameras[0]] = part.data / part.curvature
        curvature[part.cameras[0]] = part.curvature
    return Bundle(
        x.cam2world.numpy(),
        problem.intrinsics(x.log_focal).numpy(),
        x.log_depth.reshape(shape).numpy(),
        support.reshape(shape).numpy(),
        curvature.sqrt().reshape(shape).numpy(),
    )


def _stepped(x: State, parts: list[Normal], twist: Tensor, focal: Tensor) -> State:
    """The unknowns after a step (T, 6) of the cameras and () of the focal length; depths follow."""
    depth = x.log_depth.clone()
    for part in parts:
        own = torch.cat((twist[part.cameras].flatten(), focal[None]))
        change = (part.slope + part.coupling @ own) / part.curvature
        depth[part.cameras[0]] -= change.clamp(-0.5, 0.5)
    return State(x.cam2world @ se3_exp(twist), depth, x.log_focal + focal)


def _step(
    parts: list[Normal], x: State, focal_pull: float, free: np.ndarray, damping: float
) -> tuple[Tensor, Tensor]:
    """Step (T, 6) of the cameras, those not free stay, and () of the log focal length."""
    frames = len(free)
    gradient = torch.zeros(6 * frames + 1, dtype=torch.float64)
    for part in parts:
        gradient.index_add_(0, _places(part, frames), part.gradient)
    gradient[-1] += focal_pull * x.log_focal
    unknown = np.flatnonzero(np.append(np.repeat(free, 6), focal_pull > 0))
    step = np.zeros(6 * frames + 1)
    if len(unknown) and parts:
        normal = _assembled(parts, frames, focal_pull)[unknown][:, unknown]
        diagonal = normal.diagonal()
        ridge = damping * diagonal + 1e-12 * diagonal.max(initial=0.0) + 1e-30
        ridge = coo_matrix((ridge, (np.arange(len(unknown)),) * 2), shape=normal.shape)
        step[unknown] = solve_normal(normal + ridge, -gradient.numpy()[unknown])
    found = torch.from_numpy(step).clamp(-0.5, 0.5)
    return found[:-1].view(frames, 6), found[-1]


def _assembled(parts: list[Normal], frames: int, focal_pull: float) -> csr_matrix:
    """Sum (6 T + 1, 6 T + 1) of the parts' matrices.

    Most of their entries meet in few: of a long clip they are many times as much as their sum, so some at a time.
    """
    size = 6 * frames + 1
    total = csr_matrix(([focal_pull], ([size - 1], [size - 1])), shape=(size, size))
    for start in range(0, len(parts), _AT_ONCE):
        some = parts[start : start + _AT_ONCE]
        places = [_places(part, frames).int() for part in some]
        rows = [place[:, None].expand(-1, len(place)).flatten() for place in places]
        columns = [place.repeat(len(place)) for place in places]
        values = [part.matrix.flatten() for part in some]
        value, row, column = (torch.cat(v).numpy() for v in (values, rows, columns))
        total = total + coo_matrix((value, (row, column)), shape=total.shape).tocsr()
    return total


def _places(part: Normal, frames: int) -> Tensor:
    """Rows of the whole system that belong to the unknowns of one part."""
    own = (part.cameras[:, None] * 6 + torch.arange(6)).flatten()
    return torch.cat((own, torch.tensor([6 * frames])))

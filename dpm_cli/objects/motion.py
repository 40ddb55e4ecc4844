"""How an object moves from one frame to the next, from where its pixels land in the other picture.

A rigid fit of scene flow (Procrustes) believes what it says of the way along the ray, which two pictures hardly tell
and which is taken for as little as the flow allows. Where all pixels of an object land together tells more: it grows
when it comes nearer, and its parts shift when it turns. So the motion is the one under which its points land on their
pixels, of both frames, and of motions that do this nearly as well the smallest: its way along the ray is expected to be
as long as that across it, and the way that turning moves its surface to be a tenth of that.
"""

from dataclasses import dataclass

import numpy as np
import torch

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.procrustes import fit_robust
from dpm_cli.geometry.rigid import se3_exp, se3_log
from dpm_cli.geometry.robust import RAYLEIGH_MEDIAN
from dpm_cli.sequence import FrameResult

_FIT_POINTS = 2_000
_STEPS = 12
_SETTLED = 1e-6
"""Share of the expected size of a motion below which a step is the last."""
_TURN = 0.1
"""Way of an object's surface by turning that is expected, as a share of its whole way."""
_LOOKS = 1.0
"""Independent measurements that all pixels of an object in one frame are worth: errors of flow and of depth's shape are
smooth, and grow and turn an object as its motion would."""
_LEAST_PX = 1e-5
_ANY = 1e3
"""Times the expected size of a motion: so large that any will do."""
_WIDTH = 4.0
"""Of the Geman-McClure weight, in robust deviations."""


@dataclass(frozen=True, eq=False)
class View:
    """A frame, its world points and its camera."""

    frame: FrameResult
    points: np.ndarray
    """(H, W, 3)."""
    cam2world: np.ndarray
    """(4, 4)."""
    intrinsics: np.ndarray
    """(3, 3)."""


@dataclass(frozen=True, eq=False)
class ObjectMotion:
    """How an object goes from one frame to the next."""

    rigid: np.ndarray
    """(4, 4) in the world."""
    residual: float
    """Median distance of points from the best rigid motion, world units."""
    moved: float
    """Median way of points."""


@dataclass(frozen=True, eq=False)
class _Landing:
    """N points of an object in one frame and where they are seen in the other."""

    points: np.ndarray
    """(N, 3) world."""
    pixels: np.ndarray
    """(N, 2) in the other picture."""
    weights: np.ndarray
    """(N,), 0 where the point is hidden there."""
    world2cam: np.ndarray
    """(4, 4) of the other camera."""
    intrinsics: np.ndarray
    """(3, 3) of it."""
    forth: bool
    """Whether the other frame is the later one."""


def object_motion(
    views: tuple[View, View], masks: tuple[np.ndarray, np.ndarray]
) -> ObjectMotion | None:
    """Of an object between two frames, from its pixels (H, W) bool in both; None where they tell no rigid motion."""
    starts, ends, weights, landings = [], [], [], []
    for step, (view, mask) in enumerate(zip(views, masks, strict=True)):
        frame, other = view.frame, views[1 - step]
        flow = frame.scene_flow_bwd if step else frame.scene_flow_fwd
        seen = frame.flow_bwd_valid if step else frame.flow_fwd_valid
        assert flow is not None
        assert seen is not None
        every = max(1, 2 * int(mask.sum()) // _FIT_POINTS)
        points, moved, visible, sure = (
            a[mask][::every].astype(np.float64)
            for a in (view.points, view.points + flow, seen, frame.confidence)
        )
        starts.append(moved if step else points)
        ends.append(points if step else moved)
        weights.append(sure**2)
        world2cam = np.linalg.inv(other.cam2world)
        pixels = _project(_placed(world2cam, moved), other.intrinsics)
        share = _LOOKS * visible / max(visible.sum(), 1)
        landings.append(_Landing(points, pixels, share, world2cam, other.intrinsics, not step))
    start, end, weight = (np.concatenate(parts) for parts in (starts, ends, weights))
    try:
        fit = fit_robust(*(torch.from_numpy(a) for a in (start, end, weight)))
    except DegenerateGeometryError:
        return None
    way = float(np.median(np.linalg.norm(end - start, axis=1)))
    rigid = _landed(landings, fit.target_from_source.numpy(), np.median(start, axis=0), way)
    return ObjectMotion(rigid, float(fit.residual.median()), way)


def _landed(
    landings: list[_Landing], rigid: np.ndarray, centre: np.ndarray, way: float
) -> np.ndarray:
    """The motion (4, 4) near `rigid` that lands all points on their pixels, its twist about `centre` (3,) small.

    Args:
        landings: of both frames.
        rigid: the start.
        centre: of the object, world.
        way: how far its points move, world units; the size of motions that are expected.
    """
    to_centre = np.eye(4)
    to_centre[:3, 3] = -centre
    from_centre = np.linalg.inv(to_centre)
    reach = [np.median(np.linalg.norm(one.points - centre, axis=1)) for one in landings]
    size = np.repeat((max(way, 1e-9), _TURN * max(way, 1e-9) / max(*reach, 1e-9)), 3)
    motion = to_centre @ rigid @ from_centre
    # What pixels can tell is measured first, by the motion that fits them best whatever its size.
    motion, noise_px = _fitted(landings, motion, centre, _ANY * size, None)
    motion, _ = _fitted(landings, motion, centre, size, noise_px)
    return from_centre @ motion @ to_centre


def _fitted(
    landings: list[_Landing],
    motion: np.ndarray,
    centre: np.ndarray,
    size: np.ndarray,
    noise_px: float | None,
) -> tuple[np.ndarray, float]:
    """The best motion (4, 4) about `centre` from a start, and the robust deviation of pixels from it.

    Args:
        landings: of both frames.
        motion: the start.
        centre: of the object, world.
        size: (6,) deviation of the twist that is expected.
        noise_px: deviation of pixels; None takes what they show.
    """
    for _ in range(_STEPS):
        found = [_equations(one, motion, centre) for one in landings]
        length = np.concatenate([np.linalg.norm(error, axis=1) for _, error in found])
        weights = np.concatenate([one.weights for one in landings])
        seen = weights > 0
        shown = float(np.median(length[seen])) / RAYLEIGH_MEDIAN if seen.any() else 0.0
        deviation = max(shown if noise_px is None else noise_px, _LEAST_PX)
        width2 = (_WIDTH * max(shown, deviation)) ** 2
        weights = weights * (width2 / (width2 + length**2)) ** 2 / deviation**2
        rows, error = (np.concatenate(parts) for parts in zip(*found, strict=True))
        flat, weighted = rows.reshape(-1, 6), (weights[:, None, None] * rows).reshape(-1, 6)
        twist = se3_log(torch.from_numpy(motion)).numpy()
        H = weighted.T @ flat + np.diag(size**-2.0)
        g = weighted.T @ error.ravel() + twist * size**-2.0
        step = -np.linalg.solve(H, g)
        motion = se3_exp(torch.from_numpy(step)).numpy() @ motion
        if np.abs(step / size).max() < _SETTLED:
            break
    return motion, deviation


def _equations(
    one: _Landing, motion: np.ndarray, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Derivative (N, 2, 6) of pixels in the twist that acts from the left on `motion`, and their error (N, 2)."""
    about = one.points - centre
    moved = _placed(motion if one.forth else np.linalg.inv(motion), about)
    seen = _placed(one.world2cam, moved + centre)
    depth = np.maximum(seen[:, 2], 1e-9)
    slope = np.zeros((len(seen), 2, 3))
    slope[:, (0, 1), (0, 1)] = 1
    slope[:, :, 2] = -seen[:, :2] / depth[:, None]
    across = one.intrinsics[:2, :2] @ (slope / depth[:, None, None]) @ one.world2cam[:3, :3]
    if not one.forth:
        across = -across @ motion[:3, :3].T
    # The twist moves p by v + w x p, and a . (w x p) = w . (p x a).
    lever = (moved if one.forth else about)[:, None]
    rows = np.concatenate((across, np.cross(lever, across)), -1)
    return rows, _project(seen, one.intrinsics) - one.pixels


def _placed(T: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 3) moved by T (4, 4)."""
    return points @ T[:3, :3].T + T[:3, 3]


def _project(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of points (N, 3) of a camera with K (3, 3)."""
    return (points[:, :2] / np.maximum(points[:, 2:], 1e-9)) @ K[:2, :2].T + K[:2, 2]

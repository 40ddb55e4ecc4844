"""What the alignment knows of the passes, and which of them it can use at all.

A pass is one directed pair (frame i, frame j) through a predictor. Its lengths have a scale of its own.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, rays
from dpm_cli.geometry.rigid import se3_exp

MIN_INLIERS = 0.15
"""A pose that explains a smaller share of its own points is no measurement."""
_EXCLUDED_PX = 1.0
"""A predictor that says `still` or `rotation` has excluded parallax of about a pixel, not less."""
_MAX_VALUES = 4_000_000
"""Depth values of all passes together that the alignment works on (600 passes of 36 x 64 points are 2.8 million)."""
_FLOOR = 2e-5
"""Deviation of rotation (radians) and translation (over median depth) below which no pose is believed."""


@dataclass(frozen=True, eq=False)
class Passes:
    """E passes; the keys of the chunk files of a run."""

    pairs: np.ndarray
    """(E, 2) int64 frame numbers."""
    cam2_from_cam1: np.ndarray
    """(E, 4, 4) float64, pass units."""
    pose_covariance: np.ndarray
    """(E, 6, 6) of the left twist (translation in pass units, rotation in radians)."""
    pose_inliers: np.ndarray
    """(E,) 0..1."""
    twist_per_log_focal: np.ndarray
    """(E, 6) change of the pose per unit of log focal length of image 2."""
    focal_px: np.ndarray
    """(E, 2) that the reductions used."""
    focal_sigma_log: np.ndarray
    """(E,) of view 1; 0 where the focal length was given."""
    log_depth: np.ndarray
    """(E, 2, h, w) float32 own-camera z on a coarse grid, log of pass units."""
    confidence: np.ndarray
    """(E, 2, h, w) float32; 0 = not valid."""
    status: np.ndarray
    """(E,) str: ok, still, rotation, untextured, empty."""

    def __len__(self) -> int:
        return len(self.pairs)

    def seen(self) -> np.ndarray:
        """(E,) bool: something is valid in both views."""
        valid = (self.confidence > 0).any(axis=(2, 3)).all(axis=-1)
        return valid & np.isfinite(self.cam2_from_cam1).all(axis=(1, 2)) & (self.status != "empty")

    def alone(self) -> np.ndarray:
        """(E,) bool: passes of a frame with itself, which say that it is a shot of its own."""
        return self.seen() & (self.pairs[:, 0] == self.pairs[:, 1])

    def usable(self) -> np.ndarray:
        """(E,) bool: a measurement between two frames, whose pose explains its own points."""
        explained = (self.pose_inliers >= MIN_INLIERS) | np.isin(self.status, ("still", "rotation"))
        return self.seen() & explained & (self.pairs[:, 0] != self.pairs[:, 1])

    def select(self, keep: np.ndarray) -> "Passes":
        """The passes of a mask or index array."""
        return Passes(**{name: getattr(self, name)[keep] for name in self.__dataclass_fields__})

    def thinned(self) -> "Passes":
        """The passes on a coarser grid where they are many: scales need hundreds of points a pass, not thousands."""
        step = grid_step(len(self), self.log_depth.shape[2:])
        if step == 1:
            return self
        grid = (..., slice(step // 2, None, step), slice(step // 2, None, step))
        return replace(self, log_depth=self.log_depth[grid], confidence=self.confidence[grid])

    def median_depth(self) -> np.ndarray:
        """(E,) median depth of both views, pass units."""
        seen = np.where(self.confidence > 0, self.log_depth, np.nan).reshape(len(self), -1)
        return np.exp(np.nanmedian(seen, axis=1))


def views_of_frame(pairs: np.ndarray, usable: np.ndarray, t: int) -> np.ndarray:
    """(N, 2) pass and view of every usable pass (E,) of pairs (E, 2) that sees frame `t`; all where none is usable."""
    seen = np.argwhere(pairs == t)
    good = seen[usable[seen[:, 0]]]
    return good if len(good) else seen


def grid_step(passes: int, grid: tuple[int, ...]) -> int:
    """Every n-th grid point in either direction is enough for this many passes; keeps memory bounded."""
    return max(1, math.ceil(math.sqrt(2 * passes * math.prod(grid) / _MAX_VALUES)))


def with_focal(passes: Passes, focal_px: np.ndarray, size: tuple[int, int]) -> Passes:
    """The passes as if reduced with other focal lengths, to first order in the log ratio.

    Args:
        passes: as reduced.
        focal_px: (T,) focal length of each frame.
        size: (height, width) of the working images.
    """
    wanted = focal_px[passes.pairs]
    change = np.log(wanted[:, 1] / passes.focal_px[:, 1])
    twist = torch.from_numpy(passes.twist_per_log_focal * change[:, None])
    pose = (se3_exp(twist) @ torch.from_numpy(passes.cam2_from_cam1)).numpy()
    height, width = size
    h, w = passes.log_depth.shape[2:]
    pixels = pixel_grid(h, w, dtype=torch.float64).reshape(-1, 2)
    pixels = (pixels + 0.5) * torch.tensor((width / w, height / h)) - 0.5
    K = intrinsics_matrix(torch.from_numpy(wanted[:, 1].copy()), height, width)
    x, y, _ = (
        rays(pixels.expand(len(passes), -1, 2), K)
        .reshape(-1, h, w, 3)
        .numpy()
        .transpose(3, 0, 1, 2)
    )
    (_, _, forward), (turn_x, turn_y, _) = (
        v.numpy().T[:, :, None, None] for v in twist.split(3, -1)
    )
    depth = np.exp(passes.log_depth[:, 1].astype(np.float64))
    growth = np.maximum(forward / depth + turn_x * y - turn_y * x, -0.5)
    log_depth = passes.log_depth.copy()
    log_depth[:, 1] += np.log1p(growth)
    return replace(passes, cam2_from_cam1=pose, focal_px=wanted, log_depth=log_depth)


def measured_poses(passes: Passes) -> tuple[np.ndarray, np.ndarray]:
    """Relative cameras (E, 4, 4) and covariances (E, 6, 6) that the solver may believe.

    `still` is the identity and `rotation` has no translation, each to a pixel of parallax at the median depth.
    """
    pose, covariance = passes.cam2_from_cam1.copy(), passes.pose_covariance.copy()
    depth = passes.median_depth()
    still, turning = passes.status == "still", passes.status == "rotation"
    pose[still] = np.eye(4)
    pose[turning, :3, 3] = 0
    fixed = still | turning
    parallax = _EXCLUDED_PX / passes.focal_px[:, 1]
    covariance[fixed, :3, :] = covariance[fixed, :, :3] = 0
    covariance[fixed, :3, :3] = (np.eye(3) * (parallax * depth)[:, None, None] ** 2)[fixed]
    covariance[still] = 0
    covariance[still, :3, :3] = (np.eye(3) * (parallax * depth)[:, None, None] ** 2)[still]
    covariance[still, 3:, 3:] = (np.eye(3) * parallax[:, None, None] ** 2)[still]
    floor = np.concatenate((np.repeat(depth[:, None], 3, 1), np.ones((len(depth), 3))), 1) * _FLOOR
    return pose, covariance + np.eye(6) * floor[:, None, :] ** 2

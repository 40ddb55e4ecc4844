"""The nouns of dpm. Axes, units, frames and names of arrays are those of `CONVENTIONS.md` beside this file.

In short: cameras are OpenCV with pixel centres at integers, the world is the first frame's camera, depth is z, sizes
are (height, width), and of a pair `points[:, i, j]` is P_i(t_j), what image i sees, where that is at time t_j, in the
frame of the pair's first camera.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor


class FrameReader(Protocol):
    """Random access to the working images of a clip without holding them all."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Images (N, H, W, 3) uint8 RGB at the working size."""
        ...


@dataclass(frozen=True, eq=False)
class Clip:
    """A decoded clip at the working size."""

    name: str
    frames: FrameReader
    size: tuple[int, int]
    """(height, width) of the working images."""
    source_size: tuple[int, int]
    """(height, width) of the source after rotation."""
    source_from_working: np.ndarray
    """(3, 3) float64, working pixel to source pixel."""
    frame_index: np.ndarray
    """(T,) int64, index of each frame in the source."""
    timestamps: np.ndarray
    """(T,) float64, presentation times in seconds."""
    source: str
    """What the user gave, for the manifest."""
    fingerprint: str
    """sha256 that identifies the input."""
    pixel_aspect: float = 1.0
    """Width of a source pixel divided by its height."""
    lens: "LensData | None" = None
    """What the camera wrote about its lens."""

    def __len__(self) -> int:
        return len(self.frame_index)


FILM_DIAGONAL_MM = math.hypot(36, 24)
"""Of 35 mm film."""


@dataclass(frozen=True)
class LensData:
    """A focal length as cameras write it."""

    focal_35mm: float
    """Millimetres; gives the same diagonal field of view on 35 mm film."""
    sigma_log: float
    """Deviation of its logarithm that is to be expected."""
    seen: str = ""
    """What the camera wrote, for people, where that was no focal length."""


@dataclass(frozen=True, eq=False)
class PairPrediction:
    """What a predictor says of B directed pairs (image 1, image 2); float32, on the predictor's device."""

    points: Tensor
    """(B, 2, 2, H, W, 3) P_view(t_time) in the first camera's frame, arbitrary scale per pair."""
    confidence: Tensor
    """(B, 2, 2, H, W) 1 / expected relative error of each map."""
    flow: Tensor | None = None
    """(B, 2, H, W, 2) pixels: image 1 to 2, image 2 to 1, where the predictor measures flow itself."""
    motion_logit: Tensor | None = None
    """(B, 2, H, W) log odds that the pixel of that view moves by itself."""
    valid_logit: Tensor | None = None
    """(B, 2, H, W) log odds that the pixel is neither sky nor padding."""
    status: tuple[str, ...] = ()
    """One word a pair: ok, still (no camera motion), rotation (no parallax), untextured; empty = all ok."""


@dataclass(frozen=True, eq=False)
class WindowPrediction:
    """What a multi-view predictor says of a window of S frames and T target times."""

    points: Tensor
    """(T, S, H, W, 3) pixels of frame s at the time of target t, in the frame of the window's first camera."""
    confidence: Tensor
    """(T, S, H, W)."""
    cam2world: Tensor
    """(N, 4, 4) of all N frames of the window, whichever were asked for; world = its first camera."""
    intrinsics: Tensor
    """(N, 3, 3) pixels of the working size."""


@dataclass(frozen=True, eq=False)
class PairTruth:
    """Exact truth of B image pairs; the training batch. `images` are what a predictor gets."""

    images: Tensor
    """(B, 2, 3, H, W) float32 in [0, 1]."""
    points: Tensor
    """(B, 2, 2, H, W, 3) float32 P_view(t_time) in the first camera's frame, scene units."""
    valid: Tensor
    """(B, 2, 2, H, W) bool, a finite target exists (not sky, not padding, supervised by this data)."""
    moving: Tensor
    """(B, 2, H, W) bool, the pixel's point moves between the two times in the world."""
    visible: Tensor
    """(B, 2, H, W) bool, the pixel's point is seen in the other image (at the other time)."""
    flow: Tensor
    """(B, 2, H, W, 2) float32 pixels, image 1 to 2 and image 2 to 1, also of points that get hidden."""
    intrinsics: Tensor
    """(B, 2, 3, 3) float32 pixels."""
    cam2_from_cam1: Tensor
    """(B, 4, 4) float32, scene units."""
    supervision: Tensor
    """(B,) int64: 0 all four maps, 1 static scene, 2 same-time maps only."""


@dataclass(frozen=True, eq=False)
class Cameras:
    """Cameras of T frames."""

    cam2world: np.ndarray
    """(T, 4, 4) float64."""
    intrinsics: np.ndarray
    """(T, 3, 3) float64, pixels of the working size."""
    registered: np.ndarray
    """(T,) bool."""

    def __len__(self) -> int:
        return len(self.cam2world)

"""3D paths of chosen points through a sequence, forwards and backwards from the frame in which they were chosen.

What stands still keeps its world point, and each camera says where that is seen, so nothing drifts. What moves by
itself goes where the optical flow says and takes its depth from there. Who gets hidden goes on as it went last, and is
found again where the depth agrees. Paths are composed of steps between neighbours: a mover drifts with every step.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from dpm_cli.geometry.camera import project, rays
from dpm_cli.geometry.vectors import length
from dpm_cli.sequence import Sequence4D

_RIGID_PX = 2.0
"""Farthest that the flow may lead from where a still point should be seen; beyond, the flow is believed."""
_SAME_SURFACE = 0.1
"""Difference of log depth below which neighbouring pixels are of one surface."""
_FOUND_AGAIN = 0.05
"""The same, of a hidden point and what is seen in its place."""
_HIDES = 0.3
"""The same, of a point in sight: beyond, the flow has led to something else."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """N points through the T frames of a sequence."""

    points: np.ndarray
    """(T, N, 3) float64 world."""
    pixels: np.ndarray
    """(T, N, 2) float64 of the working size; of hidden points where they would be seen."""
    visible: np.ndarray
    """(T, N) bool: inside the picture, not hidden, the camera known, and the shot that where they were chosen."""
    confidence: np.ndarray
    """(T, N) float64, 1 / expected relative error of the depth seen there; 0 where nothing is seen."""


@dataclass(frozen=True, eq=False)
class _Now:
    """Where N points are in one frame."""

    points: np.ndarray
    pixels: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray
    motion: np.ndarray
    """(N, 3) world units a step, what a hidden point goes on with; 0 of what stands still."""


def track(sequence: Sequence4D, frame: int, pixels: np.ndarray) -> Tracks:
    """Follow the points seen at `pixels` (N, 2), working size, of frame `frame`.

    A pixel without depth there (sky, or outside) is not visible from the start. Frames of other shots are another
    world, and an unregistered camera sees nothing that can be trusted: there the points stay where they were last and
    are not visible.
    """
    surface = _Surface(sequence, frame, pixels)
    start = _Now(
        points=surface.points(),
        pixels=pixels.astype(np.float64),
        visible=surface.valid,
        confidence=np.where(surface.valid, surface.read("confidence")[:, 0], 0.0),
        motion=np.zeros((len(pixels), 3)),
    )
    path = {frame: start}
    for direction in (1, -1):
        now = start
        t = frame + direction
        while 0 <= t < len(sequence):
            seen = sequence.camera_ok[t] and sequence.shot[t] == sequence.shot[frame]
            now = _step(sequence, now, t - direction, direction) if seen else _lost(now)
            path[t] = now
            t += direction
    rows = [path[t] for t in range(len(sequence))]
    return Tracks(
        **{
            name: np.stack([getattr(row, name) for row in rows])
            for name in ("points", "pixels", "visible", "confidence")
        }
    )


def _lost(now: _Now) -> _Now:
    return replace(now, visible=np.zeros_like(now.visible), confidence=0 * now.confidence)


def _step(sequence: Sequence4D, now: _Now, t: int, direction: int) -> _Now:
    """From frame `t` to its neighbour in `direction`."""
    after = t + direction
    name = "fwd" if direction > 0 else "bwd"
    here = _Surface(sequence, t, now.pixels)
    scene_flow, led = here.read(f"scene_flow_{name}"), now.pixels + here.read(f"flow_{name}")
    still_px, _ = _seen_at(sequence, after, now.points)
    still = (here.read("dynamic")[:, 0] <= sequence.motion_threshold) & (
        length(led - still_px) < _RIGID_PX
    )
    motion = np.where(now.visible[:, None], np.where(still[:, None], 0, scene_flow), now.motion)
    led_on = now.visible & ~still
    points = now.points + motion
    expected_px, expected_depth = _seen_at(sequence, after, points)
    # Where to look: a mover in sight where the flow leads, all else where its point should be seen.
    pixels = np.where(led_on[:, None], led, expected_px)
    there = _Surface(sequence, after, pixels)
    off = np.abs(np.log(np.maximum(expected_depth, 1e-9) / there.depth))
    matched = here.read(f"flow_{name}_valid")[:, 0] > 0.5
    visible = there.valid & np.where(now.visible, matched & (off < _HIDES), off < _FOUND_AGAIN)
    measured = visible & (led_on | motion.any(1))
    return _Now(
        points=np.where(measured[:, None], there.points(), points),
        pixels=np.where(visible[:, None], pixels, expected_px),
        visible=visible,
        confidence=np.where(visible, there.read("confidence")[:, 0], 0.0),
        motion=motion,
    )


def _seen_at(sequence: Sequence4D, t: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) and depth (N,) of world points (N, 3) in camera `t`."""
    world2cam = np.linalg.inv(sequence.cam2world[t])
    local = points @ world2cam[:3, :3].T + world2cam[:3, 3]
    K = torch.from_numpy(sequence.intrinsics[t])
    return project(torch.from_numpy(local), K, min_depth=1e-6).numpy(), local[:, 2]


class _Surface:
    """What frame `t` says at pixels (N, 2): between the four pixels around, those of the nearest one's surface."""

    def __init__(self, sequence: Sequence4D, t: int, pixels: np.ndarray):
        self._sequence, self._t, self._pixels = sequence, t, pixels
        height, width = sequence.size
        self._last = np.array((width - 1, height - 1))
        inside = np.all((pixels >= -0.5) & (pixels <= self._last + 0.5), axis=1)
        self._at = np.clip(np.where(inside[:, None], pixels, 0), 0, self._last)
        low = np.floor(self._at).astype(np.int64)
        offsets = np.array(((0, 0), (1, 0), (0, 1), (1, 1)))
        self._corners = np.minimum(low[:, None] + offsets, self._last)
        part = self._at - low
        share = np.where(offsets, part[:, None], 1 - part[:, None]).prod(-1)
        depth_map = np.maximum(self._array("depth").astype(np.float64), 1e-9)
        depth = depth_map[self._corners[..., 1], self._corners[..., 0]]
        nearest = np.rint(self._at).astype(np.int64)
        own = depth_map[nearest[:, 1], nearest[:, 0]]
        share = share * (np.abs(np.log(depth / own[:, None])) < _SAME_SURFACE) + 1e-9
        self._share = share / share.sum(1, keepdims=True)
        self.valid = inside & self._array("valid")[nearest[:, 1], nearest[:, 0]]
        """(N,) bool: inside the picture, and there is an estimate."""
        self.depth = np.exp((np.log(depth) * self._share).sum(1))
        """(N,) z."""

    def read(self, key: str) -> np.ndarray:
        """Values (N, C) of a map."""
        values = self._array(key)
        values = values.reshape(*values.shape[:2], -1).astype(np.float64)
        around = values[self._corners[..., 1], self._corners[..., 0]]
        return (around * self._share[..., None]).sum(1)

    def points(self) -> np.ndarray:
        """World points (N, 3)."""
        K = torch.from_numpy(self._sequence.intrinsics[self._t])
        local = rays(torch.from_numpy(self._at), K).numpy() * self.depth[:, None]
        pose = self._sequence.cam2world[self._t]
        return local @ pose[:3, :3].T + pose[:3, 3]

    def _array(self, key: str) -> np.ndarray:
        found = self._sequence.read(self._t, key)
        assert found is not None
        return found

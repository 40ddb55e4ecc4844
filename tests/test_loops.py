"""Where the camera comes back, far frames are paired, and drift closes."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dpm_cli.align import Passes, align
from dpm_cli.geometry.procrustes import fit_similarity
from dpm_cli.geometry.rigid import transform
from dpm_cli.passes.loops import LEAST_GAP, find_loops, key_step, most_loops, with_loops
from dpm_cli.passes.pairs import pair_graph

SIZE = (64, 96)
SIGMA = 2e-3
"""Radians that passes err by, at random and to one side."""


class Walk:
    """A camera that shows a part of one large picture at a place (x, y) a frame; a patch goes along with it."""

    def __init__(self, places: np.ndarray, patch: float = 0.0, seed: int = 0):
        rng = np.random.default_rng(seed)
        fine = rng.normal(size=(200, 1400)).astype(np.float32)
        layers = [cv2.GaussianBlur(fine, (0, 0), s) * s for s in (1.5, 5, 20)]
        self.world = cv2.normalize(sum(layers), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # pyright: ignore
        self.places, self.patch = places, round(patch * SIZE[0])
        self.carried = rng.integers(0, 255, (*SIZE, 3), np.uint8)

    def __len__(self):
        return len(self.places)

    def read(self, indices):
        return np.stack([self._image(*self.places[i]) for i in indices])

    def _image(self, x, y):
        image = cv2.getRectSubPix(self.world, SIZE[::-1], (x + SIZE[1] / 2, y + SIZE[0] / 2))
        image = image[..., None].repeat(3, -1)
        image[: self.patch, : self.patch] = self.carried[: self.patch, : self.patch]
        return image


def along(x) -> np.ndarray:
    return np.stack((np.asarray(x, float), np.full(len(x), 60.0)), 1)


def there_and_back(frames: int, step: float) -> np.ndarray:
    half = frames // 2
    out = np.arange(half) * step
    return along(np.concatenate((out, out[::-1])))


def one_shot(frames) -> np.ndarray:
    return np.zeros(len(frames), np.int64)


def test_a_camera_that_comes_back_is_recognised_and_nothing_else():
    walk = Walk(there_and_back(144, 9.0))
    loops = find_loops(walk, one_shot(walk))
    assert 2 <= len(loops) <= most_loops(144)
    assert ((loops[:, 1] - loops[:, 0]) >= LEAST_GAP).all()
    apart = np.abs(np.diff(walk.places[loops][..., 0], axis=1))
    assert apart.max() < 0.4 * SIZE[1]
    assert np.array_equal(loops, find_loops(walk, one_shot(walk)))
    cut = np.repeat([0, 1], 72)
    assert not len(find_loops(walk, cut)), "shots share no place"


def test_very_long_shots_get_fewer_keyframes_and_their_loops_stay_far(monkeypatch):
    assert [key_step(n) for n in (10, 32_000, 32_001, 108_000)] == [8, 8, 9, 27]
    monkeypatch.setattr("dpm_cli.passes.loops._MOST_KEYFRAMES", 12)
    walk = Walk(there_and_back(144, 9.0))
    loops = find_loops(walk, one_shot(walk))
    assert len(loops)
    assert not (loops % 12).any()
    assert ((loops[:, 1] - loops[:, 0]) >= LEAST_GAP).all()


@pytest.mark.parametrize(
    ("walk", "why"),
    [
        (Walk(along(np.arange(144) * 8.0)), "one that goes on and on does not come back"),
        (Walk(along(np.full(144, 20.0) + np.arange(144) % 2)), "one that stands does not either"),
        (Walk(along(np.arange(144) * 8.0), patch=0.4), "a thing that comes along is no place"),
        (Walk(there_and_back(40, 9.0)), "short clips are joined by strides"),
    ],
)
def test_what_is_no_loop(walk, why):
    assert not len(find_loops(walk, one_shot(walk))), why


def test_loops_join_the_list_of_pairs_in_its_order():
    pairs = pair_graph(np.zeros(60, np.int64))
    both = with_loops(pairs, np.array([(3, 59), (0, 58), (51, 59)]))
    assert len(both) == len(pairs) + 2, "one is a stride already"
    assert (np.diff(both[:, 1]) >= 0).all()
    assert {(3, 59), (0, 58)} <= set(map(tuple, both.tolist()))


def circle(frames: int) -> np.ndarray:
    """(T, 4, 4) once around and a bit, looking ahead."""
    pose = np.tile(np.eye(4), (frames, 1, 1))
    angle = np.linspace(0, 2.2 * np.pi, frames)
    pose[:, :3, :3] = Rotation.from_euler("y", angle[:, None]).as_matrix()
    pose[:, 0, 3], pose[:, 2, 3] = -5 * np.cos(angle) + 5, 5 * np.sin(angle)
    return pose


def drifting_passes(pose: np.ndarray, pairs: np.ndarray, false: int | None = None) -> Passes:
    """Passes of which neighbours all turn a little too far; loops are right, but that of number `false`."""
    rng = np.random.default_rng(0)
    count, grid = len(pairs), (6, 8)
    gap = np.diff(pairs, axis=1)[:, 0]
    step = np.linalg.inv(pose[pairs[:, 1]]) @ pose[pairs[:, 0]]
    turn = rng.normal(size=(count, 3)) * SIGMA
    turn[:, 1] += gap * (gap < LEAST_GAP) * SIGMA
    if false is not None:
        turn[np.flatnonzero(gap >= LEAST_GAP)[false]] += 1.5
    step[:, :3, :3] = Rotation.from_rotvec(turn).as_matrix() @ step[:, :3, :3]
    scale = rng.normal(size=count) * 0.5
    step[:, :3, 3] *= np.exp(scale + rng.normal(size=count) * 0.01)[:, None]
    depth = np.tile(rng.uniform(1, 2, grid), (count, 2, 1, 1)) + scale[:, None, None, None]
    return Passes(
        pairs=pairs,
        cam2_from_cam1=step,
        pose_covariance=np.tile(np.diag([1e-4] * 3 + [SIGMA**2] * 3), (count, 1, 1)),
        pose_inliers=np.ones(count),
        twist_per_log_focal=np.zeros((count, 6)),
        focal_px=np.full((count, 2), 60.0),
        focal_sigma_log=np.zeros(count),
        log_depth=depth.astype(np.float32),
        confidence=np.full(depth.shape, 20, np.float32),
        status=np.full(count, "ok", "U12"),
    )


def camera_error(found: np.ndarray, pose: np.ndarray) -> float:
    """RMS of the centres after the best similarity, over the radius of the circle."""
    centres, truth = torch.from_numpy(found[:, :3, 3]), torch.from_numpy(pose[:, :3, 3])
    S = fit_similarity(centres, truth, scale="least-squares")
    return float((transform(S, centres) - truth).square().sum(-1).mean().sqrt()) / 5


@pytest.fixture(scope="module")
def closing():
    """Error of the cameras and which loops were kept, of a clip without and with loops, and with a false one."""
    pose, strides = circle(56), pair_graph(np.zeros(56, np.int64), "1,2")
    loops = np.array([(0, 50), (2, 52), (4, 54)])
    K = np.array([[60.0, 0, 48], [0, 60, 32], [0, 0, 1]])
    result = {}
    for name, pairs in (("open", strides), ("closed", with_loops(strides, loops))):
        found = align(drifting_passes(pose, pairs), 56, size=SIZE, intrinsics=K, reach=2)
        result[name] = camera_error(found.cameras.cam2world, pose)
    far = np.diff(pairs, axis=1)[:, 0] > 2
    found = align(drifting_passes(pose, pairs, false=1), 56, size=SIZE, intrinsics=K, reach=2)
    return result, found.usable[far], camera_error(found.cameras.cam2world, pose)


def test_drift_closes_where_three_pairs_of_hundreds_know_better(closing):
    result, _, _ = closing
    assert result["open"] > 0.02
    assert result["closed"] < 0.3 * result["open"]


def test_a_pair_of_two_places_closes_nothing(closing):
    result, kept, error = closing
    assert kept.tolist() == [True, False, True]
    assert error < 0.3 * result["open"]

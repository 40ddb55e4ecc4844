"""What flow can know of depth: exact numbers of a camera that moves sideways before a wall."""

import numpy as np
import pytest

from dpm_cli.motion.doubt import GridLook, error_by_flow
from dpm_cli.motion.look import Look

SIZE, SPACING, FOCAL = (24, 32), 4, 100.0


def wall(noise_px: float, step: float, seed: int = 0) -> GridLook:
    """A wall at depth 1; flow with noise across the epipolar lines, which are rows."""
    h, w = SIZE
    K = np.array([[FOCAL, 0, 64], [0, FOCAL, 48], [0, 0, 1]])
    pose = np.eye(4)
    pose[0, 3] = -step
    flow = np.zeros((h, w, 2), np.float32)
    flow[..., 0] = -FOCAL * step
    flow[..., 1] = np.random.default_rng(seed).normal(0, noise_px, (h, w))
    look = Look(1, 1, flow, -flow, pose, K, K)
    return GridLook.of(look, np.ones(SIZE, np.float32), SPACING)


@pytest.mark.parametrize(("noise_px", "step"), [(0.5, 0.05), (0.2, 0.02), (1.0, 0.01)])
def test_error_is_noise_over_parallax(noise_px, step):
    found = error_by_flow(np.zeros(SIZE), [wall(noise_px, step)], 0.25)
    assert found == pytest.approx(np.full(SIZE, noise_px / (FOCAL * step)), rel=0.12)


def test_the_best_look_counts_and_hidden_points_know_nothing():
    near, far = wall(0.5, 0.01), wall(0.5, 0.1, seed=1)
    hidden = far.weight.copy()
    hidden[:, :5] = 0
    found = error_by_flow(np.zeros(SIZE), [near, GridLook(far.look, hidden, SPACING)], 0.25)
    assert np.median(found[:, 5:]) == pytest.approx(0.05, rel=0.15)
    assert np.median(found[:, :5]) == pytest.approx(0.5, rel=0.15)
    blind = GridLook(near.look, np.zeros(SIZE, np.float32), SPACING)
    assert np.isinf(error_by_flow(np.zeros(SIZE), [blind], 0.25)).all()

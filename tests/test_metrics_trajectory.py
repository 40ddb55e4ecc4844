"""Trajectory errors by hand, and against evo where it is installed."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dpm_cli.workshop.metrics import trajectory


def poses(positions, rotations=None):
    out = np.tile(np.eye(4), (len(positions), 1, 1))
    out[:, :3, 3] = positions
    if rotations is not None:
        out[:, :3, :3] = rotations.as_matrix()
    return out


def walk(seed, frames=30):
    rng = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.05, (frames, 3)), 0))
    return poses(np.cumsum(rng.normal(0, 0.2, (frames, 3)), 0), turns)


def test_truth_against_itself():
    truth = walk(0)
    assert trajectory.ate(truth, truth) == 0.0
    relative = trajectory.rpe(truth, truth)
    assert relative.translation == pytest.approx(0.0, abs=1e-9)
    assert relative.rotation_deg == pytest.approx(0.0, abs=1e-5)


def test_by_hand():
    truth = poses([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]])
    wrong = poses([[0, 0, 0], [1, 3, 0], [2, 0, 4.0]])
    assert trajectory.ate(wrong, truth) == pytest.approx(np.sqrt((9 + 16) / 3))
    # Steps are off by (0, 3, 0) and (0, -3, 4): lengths 3 and 5.
    assert trajectory.rpe(wrong, truth).translation == pytest.approx(np.sqrt((9 + 25) / 2))
    assert trajectory.rpe(wrong, truth, delta=2).translation == pytest.approx(4.0)
    assert np.isnan(trajectory.rpe(wrong, truth, delta=3).translation)


@pytest.mark.parametrize("degrees", [1e-3, 10.0, 179.0])
def test_rotation_error_is_the_angle(degrees):
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, 0, 0.8]))
    truth = poses(np.zeros((2, 3)))
    turned = poses(np.zeros((2, 3)), Rotation.concatenate([Rotation.identity(), turn]))
    assert trajectory.rpe(turned, truth).rotation_deg == pytest.approx(degrees, rel=1e-6)


def test_direction_error_by_hand():
    a = np.array([[1.0, 0, 0], [2.0, 0, 0], [1.0, 1.0, 0]])
    b = np.array([[5.0, 0, 0], [0, 1.0, 0], [3.0, 0, 0]])
    assert trajectory.direction_error_deg(a, b) == pytest.approx([0, 90, 45])


def test_object_motion_is_judged_at_the_object():
    # The object stands at z = 10 and turns on the spot by 10 degrees about y; the estimate says that it stands still.
    turn = Rotation.from_rotvec([0, np.radians(10), 0]).as_matrix()
    centre = np.array([[0, 0, 10.0]])
    truth = np.eye(4)[None].copy()
    truth[0, :3, :3] = turn
    truth[0, :3, 3] = centre[0] - turn @ centre[0]
    rotation_deg, moved = trajectory.object_motion_errors(np.eye(4)[None], truth, centre)
    assert rotation_deg == pytest.approx([10.0])
    assert moved == pytest.approx([0.0], abs=1e-12)


def test_agrees_with_evo():
    metrics = pytest.importorskip("evo.core.metrics")
    from evo.core.trajectory import PosePath3D

    truth, wrong = walk(1), walk(2)
    pair = (PosePath3D(poses_se3=list(truth)), PosePath3D(poses_se3=list(wrong)))
    absolute = metrics.APE(metrics.PoseRelation.translation_part)
    absolute.process_data(pair)
    assert trajectory.ate(wrong, truth) == pytest.approx(
        absolute.get_statistic(metrics.StatisticsType.rmse)
    )
    ours = trajectory.rpe(wrong, truth)
    for relation, value in (
        (metrics.PoseRelation.translation_part, ours.translation),
        (metrics.PoseRelation.rotation_angle_deg, ours.rotation_deg),
    ):
        relative = metrics.RPE(relation, delta=1, delta_unit=metrics.Unit.frames, all_pairs=True)
        relative.process_data(pair)
        assert value == pytest.approx(relative.get_statistic(metrics.StatisticsType.rmse))

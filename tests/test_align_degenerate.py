from dataclasses import replace

import numpy as np
import pytest
from aligned_passes import gather, graph, path_error
from analytic_scene import analytic_clip
from oracle import OracleNoise

from dpm_cli.align import align

SIZE = (48, 80)


@pytest.fixture(scope="module")
def clip():
    return analytic_clip(10, size=SIZE)


@pytest.fixture(scope="module")
def passes(clip):
    return gather(clip, graph(10, (1, 2, 4)), OracleNoise())


def test_no_passes_at_all():
    none = gather(analytic_clip(2, size=SIZE), np.array([[0, 1]]), OracleNoise()).select(
        np.zeros(1, bool)
    )
    one = align(none, 1, size=SIZE)
    assert one.cameras.registered.tolist() == [True]
    assert np.array_equal(one.cameras.cam2world, np.eye(4)[None])
    three = align(none, 3, size=SIZE)
    assert three.cameras.registered.tolist() == [True, False, False]
    assert np.isfinite(three.cameras.cam2world).all()
    assert "unknown" in three.notes[0]


def test_one_frame_with_itself_gives_its_focal_length(clip):
    found = align(gather(clip, np.array([[0, 0]]), OracleNoise()), 1, size=SIZE)
    assert found.cameras.registered.all()
    assert found.usable.all()
    assert found.cameras.intrinsics[0, 0, 0] == pytest.approx(float(clip.K[0, 0]), rel=1e-4)
    assert found.notes == ()


def test_still_camera_with_exact_depth_is_still_and_says_so():
    still = analytic_clip(6, size=SIZE, motion="still")
    passes = gather(still, graph(6, (1, 2)), OracleNoise())
    passes = replace(passes, status=np.full(len(passes), "still"))
    found = align(passes, 6, size=SIZE)
    assert np.allclose(found.cameras.cam2world, np.eye(4), atol=1e-9)
    assert found.cameras.registered.all()
    assert "stands still" in found.notes[-1]


def test_a_still_stretch_does_not_spoil_the_moving_rest(clip):
    passes = gather(clip, graph(10, (1, 2, 4)), OracleNoise())
    status = passes.status.copy()
    # The predictor missed the motion of the shortest step; longer strides know better.
    status[0] = "still"
    found = align(replace(passes, status=status), 10, size=SIZE)
    assert path_error(found, clip) < 0.01


def test_rotation_only_keeps_the_rotation_and_claims_no_translation():
    turning = analytic_clip(6, size=SIZE, motion="rotation")
    passes = gather(turning, graph(6, (1, 2)), OracleNoise(independent=0.01))
    passes = replace(passes, status=np.full(len(passes), "rotation"))
    found = align(passes, 6, size=SIZE)
    assert np.allclose(found.cameras.cam2world[:, :3, 3], 0, atol=1e-9)
    assert np.allclose(found.cameras.cam2world[:, :3, :3], turning.cam2world[:, :3, :3], atol=5e-3)
    assert "only turns" in found.notes[-1]


def test_duplicate_frames_share_their_camera(clip):
    """Frame 5 again as frame 6: every pass of the second copy repeats one of the first."""
    source = np.array([0, 1, 2, 3, 4, 5, 5, 6, 7, 8])
    pairs = graph(10, (1, 2, 4))
    passes = replace(gather(clip, source[pairs], OracleNoise()), pairs=pairs)
    found = align(passes, 10, size=SIZE)
    assert np.allclose(found.cameras.cam2world[5], found.cameras.cam2world[6], atol=1e-5)
    assert found.cameras.registered.all()


def test_two_parts_are_two_shots_each_in_its_own_world(clip, passes):
    same_part = (passes.pairs < 4).all(1) | (passes.pairs >= 4).all(1)
    found = align(passes.select(same_part), 10, size=SIZE)
    assert found.shot.tolist() == [0] * 4 + [1] * 6
    assert np.array_equal(found.cameras.cam2world[4], np.eye(4))
    assert found.cameras.registered.all()
    assert "2 parts" in found.notes[-1]
    relative = np.linalg.inv(clip.cam2world[4].numpy()) @ clip.cam2world.numpy()
    scale = relative[9, 0, 3] / found.cameras.cam2world[9, 0, 3]
    assert np.allclose(found.cameras.cam2world[4:, :3, 3] * scale, relative[4:, :3, 3], atol=1e-4)


def test_an_unregistered_frame_gets_an_interpolated_camera(clip, passes):
    without = passes.select(~(passes.pairs == 5).any(1))
    found = align(without, 10, size=SIZE)
    assert found.cameras.registered.tolist() == [t != 5 for t in range(10)]
    assert (found.shot == 0).all()
    between = (found.cameras.cam2world[4, :3, 3] + found.cameras.cam2world[6, :3, 3]) / 2
    assert np.allclose(found.cameras.cam2world[5, :3, 3], between, atol=1e-3)
    assert "interpolated" in found.notes[-1]


def test_frames_before_the_first_and_after_the_last_known_one_copy_it(passes):
    inner = passes.select(((passes.pairs > 1) & (passes.pairs < 8)).all(1))
    found = align(inner, 10, size=SIZE)
    C = found.cameras.cam2world
    assert np.array_equal(C[0], C[2])
    assert np.array_equal(C[9], C[7])
    assert (found.shot == 0).all()


def test_a_lone_frame_between_two_shots_is_a_shot(clip):
    pairs = np.array([[0, 1], [1, 2], [0, 2], [3, 3], [4, 5], [5, 6], [4, 6]])
    found = align(gather(clip, pairs, OracleNoise()), 7, size=SIZE)
    assert found.shot.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert found.cameras.registered.all()
    assert found.usable.all()


def test_a_chain_without_loops_is_followed(clip):
    found = align(gather(clip, graph(10, (1,)), OracleNoise()), 10, size=SIZE)
    assert path_error(found, clip) < 1e-4


def test_empty_and_unexplained_passes_are_counted_not_used(clip, passes):
    inliers, status = passes.pose_inliers.copy(), passes.status.copy()
    inliers[3], status[7] = 0.05, "empty"
    pose = passes.cam2_from_cam1.copy()
    pose[7] = np.nan
    found = align(
        replace(passes, pose_inliers=inliers, status=status, cam2_from_cam1=pose), 10, size=SIZE
    )
    assert not found.usable[[3, 7]].any()
    assert path_error(found, clip) < 1e-4
    assert found.notes == ("2 of 23 pairs gave no relative camera",)


def test_half_of_a_pass_may_be_invalid(clip, passes):
    confidence = passes.confidence.copy()
    confidence[:, :, :6] = 0
    found = align(replace(passes, confidence=confidence), 10, size=SIZE)
    assert path_error(found, clip) < 1e-4

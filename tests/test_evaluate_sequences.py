"""A true sequence against its own truth is perfect; known changes give known numbers."""

import dataclasses

import numpy as np
import pytest
from truth_arrays import sequence_arrays

from dpm_cli.errors import InputError
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.datasets.synth import truth_of_clip
from dpm_cli.workshop.datasets.truth import TrackTruth
from dpm_cli.workshop.evaluate.constant_video import constant_sequence
from dpm_cli.workshop.evaluate.sequence_runs import (
    has_sequence_truth,
    judge,
    score_sequences,
    write_frames,
)
from dpm_cli.workshop.evaluate.sequence_scores import score_sequence
from dpm_cli.workshop.synthetic import render_clip, scene_seed


@pytest.fixture(scope="module")
def clip():
    return render_clip(scene_seed("test", 5), 5, (48, 64), camera="orbit")


@pytest.fixture(scope="module")
def truth(clip):
    return truth_of_clip(clip, "scene")


@pytest.fixture
def arrays(clip):
    return {k: v.copy() for k, v in sequence_arrays(clip).items()}


def values(arrays, truth):
    return score_sequence(Sequence4D.from_arrays(arrays), truth).values


def test_truth_is_perfect(arrays, truth):
    found = values(arrays, truth)
    for name in ("absrel", "absrel_shift", "absrel_median", "scale_spread", "focal_error"):
        assert found[name] == pytest.approx(0, abs=1e-5), name
    for name in ("ate", "ate_share", "rpe_trans", "flow_epe", "flow_fl", "scene_flow_epe"):
        assert found[name] == pytest.approx(0, abs=1e-4), name
    assert found["static_spread"] < 2e-3
    assert found["rpe_rot_deg"] < 1e-3
    assert found["step_rot_deg"] < 1e-3
    assert found["step_dir_deg"] < 1e-3
    assert found["scene_flow_movers"] < 1e-3
    for name in ("delta_1_25", "delta_1_25_shift", "registered", "motion_iou", "motion_f"):
        assert found[name] == 1.0, name
    assert found["cloud_completeness"] < 1e-4


def test_another_world_and_scale_change_nothing(arrays, truth):
    world = np.diag((3.0, 3.0, 3.0, 1.0))
    world[:3, :3] = 3 * np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    world[:3, 3] = (5, -2, 1)
    poses = world @ arrays["cam2world"]
    poses[:, :3, :3] /= 3
    arrays["cam2world"] = poses
    arrays["depth"] *= 3
    for way in ("fwd", "bwd"):
        arrays[f"scene_flow_{way}"] = arrays[f"scene_flow_{way}"] @ world[:3, :3].T.astype(
            np.float32
        )
    found = values(arrays, truth)
    for name in ("absrel", "ate_share", "scene_flow_movers", "rpe_rot_deg"):
        assert found[name] == pytest.approx(0, abs=2e-3), name


def test_a_frame_of_another_scale_is_seen(arrays, truth):
    arrays["depth"][2] *= 1.5
    found = values(arrays, truth)
    pixels = arrays["valid"].sum((1, 2))
    assert found["absrel"] == pytest.approx(0.5 * pixels[2] / pixels.sum(), rel=1e-3)
    # Logs of the frames' scales are 0 but one -log 1.5: deviation log 1.5 * sqrt(.2 * .8).
    assert found["scale_spread"] == pytest.approx(np.log(1.5) * 0.4, rel=1e-3)


def test_flicker_of_depth_is_spread_of_what_stands_still(arrays, truth):
    calm = values(arrays, truth)["static_spread"]
    arrays["depth"][1::2] *= 1.1
    found = values(arrays, truth)["static_spread"]
    # Every other frame is a tenth too deep along its rays; these are longer than depth towards the corners.
    assert calm < 2e-3 < 0.09 < found < 0.12


def test_steps_that_are_off(arrays, truth):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.02), -np.sin(0.02)], [np.sin(0.02), np.cos(0.02)]]
    arrays["cam2world"][4] = arrays["cam2world"][4] @ turn
    # The last of four steps turns too far, by 0.02.
    assert values(arrays, truth)["step_rot_deg"] == pytest.approx(np.degrees(0.02) / 4, rel=1e-3)
    start, step = arrays["cam2world"][3, :3, 3], np.diff(arrays["cam2world"][3:, :3, 3], axis=0)[0]
    across = np.cross(step, (0.3, 1.0, 0.2))
    arrays["cam2world"][4, :3, 3] = start + across
    assert values(arrays, truth)["step_dir_deg"] == pytest.approx(90 / 4, rel=1e-2)


def test_static_depth_is_judged_alone_and_by_its_surer_half(arrays, truth):
    moving = np.stack([truth.masks[t] == 1 for t in range(5)])
    arrays["depth"][moving] *= 3
    static = arrays["valid"] & ~moving
    doubtful = static & (np.random.default_rng(0).random(static.shape) < 0.2)
    arrays["depth"][doubtful] *= 1.05
    arrays["confidence"] = np.where(doubtful, 1.0, 50.0).astype(np.float32)
    found = values(arrays, truth)
    share = doubtful.sum() / static.sum()
    assert found["absrel_static"] == pytest.approx(0.05 * share, rel=0.02)
    assert found["absrel_static_confident"] == pytest.approx(0, abs=1e-4)
    assert found["absrel"] > found["absrel_static"]


def test_shift_is_forgiven_by_scale_and_shift_only(arrays, truth):
    arrays["depth"] = np.where(arrays["valid"], 2 * arrays["depth"] + 0.7, 0).astype(np.float32)
    found = values(arrays, truth)
    assert found["absrel_shift"] == pytest.approx(0, abs=1e-4)
    assert found["absrel"] > 0.01


def test_flow_that_is_off_by_two_pixels(arrays, truth):
    arrays["flow_fwd"][..., 1] += 2.0
    assert values(arrays, truth)["flow_epe"] == pytest.approx(2.0, abs=1e-3)


def test_half_a_mask(arrays, truth):
    masks = [truth.masks[t] == 1 for t in range(5)]
    arrays["dynamic"] = np.zeros_like(arrays["dynamic"])
    expected = []
    for t, mask in enumerate(masks):
        half = mask & (np.cumsum(mask).reshape(mask.shape) <= mask.sum() // 2)
        arrays["dynamic"][t][half] = 1.0
        if mask.any():
            expected.append(half.sum() / mask.sum())
    assert values(arrays, truth)["motion_iou"] == pytest.approx(np.mean(expected))


def test_cameras_that_were_not_registered_are_left_out(arrays, truth):
    arrays["camera_ok"][3] = False
    arrays["cam2world"][3, :3, 3] = 99.0
    found = values(arrays, truth)
    assert found["registered"] == pytest.approx(0.8)
    assert found["ate"] == pytest.approx(0, abs=1e-4)


def test_a_result_of_another_clip(arrays, truth):
    arrays["frame_index"] = arrays["frame_index"] + 4
    with pytest.raises(InputError, match="not among the 5 frames"):
        values(arrays, truth)


def test_a_result_of_some_frames_is_judged_by_their_numbers(arrays, truth):
    keep = np.array([0, 2, 4])
    steps = ("scene_flow", "flow")
    some = {k: v[keep] if v.ndim and len(v) == 5 else v for k, v in arrays.items()}
    for key in arrays:
        if key.startswith(steps):
            some[key] = arrays[key][:2]
    found = values(some, truth)
    assert found["absrel"] == pytest.approx(0, abs=1e-5)
    assert found["ate"] == pytest.approx(0, abs=1e-4)
    assert "flow_epe" not in found


def test_the_runner_reconstructs_files_and_pictures_them(truth, arrays, tmp_path):
    seen = []

    def run(images, folder):
        seen.extend(images)
        return Sequence4D.from_arrays(arrays)

    (score,) = score_sequences("exact", run, [truth])
    assert len(seen) == 5
    assert score.dataset == "synth/video"
    assert score.values["absrel"] == pytest.approx(0, abs=1e-5)
    assert score.weight == arrays["valid"].sum()
    assert score.picture is not None
    assert has_sequence_truth(truth)
    assert len(write_frames(truth, tmp_path / "frames", 2)) == 2


def test_constant_depth_is_what_a_wall_gets(truth, tmp_path):
    images = write_frames(truth, tmp_path / "frames", None)
    score = judge("constant-depth", constant_sequence(images, tmp_path), truth, 0.0)
    depth = np.concatenate([truth.depth[t][truth.depth[t] > 0] for t in range(5)]).astype(
        np.float64
    )
    # The best scale of a constant c minimises sum |s - g|: the median.
    expected = np.mean(np.abs(np.median(depth) - depth) / depth)
    assert score.values["absrel"] == pytest.approx(expected, rel=1e-3)
    assert score.values["motion_iou"] == 0.0


def with_tracks(clip, truth):
    """Every eighth pixel of frame 0, followed exactly."""
    y, x = (g.ravel() for g in np.mgrid[4:48:8, 4:64:8])
    points = np.stack([clip.points(0, t)[0].numpy()[y, x] for t in range(5)]).astype(np.float64)
    camera = np.einsum("tij,tnj->tni", np.linalg.inv(truth.cam2world)[:, :3, :3], points)
    camera += np.linalg.inv(truth.cam2world)[:, None, :3, 3]
    pixels = np.einsum("tij,tnj->tni", truth.intrinsics, camera)
    known = np.tile((clip.depth[0, 0].numpy() > 0)[y, x], (5, 1))
    visible = np.stack([clip.pair(0, t).visible[0, 0].numpy()[y, x] for t in range(5)])
    tracks = TrackTruth(points, pixels[..., :2] / pixels[..., 2:], known, known & visible)
    return dataclasses.replace(truth, tracks=tracks)


def test_true_maps_follow_true_tracks(clip, truth, arrays):
    tracked = with_tracks(clip, truth)
    found = values(arrays, tracked)
    unit = float(np.median(arrays["depth"][arrays["valid"]]))
    assert found["track_epe"] < 0.01 * unit
    assert found["apd"] > 0.97
    assert found["apd_camera"] > 0.9
    still = {
        **arrays,
        "scene_flow_fwd": 0 * arrays["scene_flow_fwd"],
        "flow_fwd": 0 * arrays["flow_fwd"],
    }
    worse = values(still, tracked)
    assert worse["track_epe"] > 3 * found["track_epe"]

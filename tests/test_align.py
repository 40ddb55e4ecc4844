from dataclasses import replace

import numpy as np
import pytest
from aligned_passes import gather, graph, path_error, scale_drift
from analytic_scene import AnalyticClip, analytic_clip
from oracle import OracleNoise, OraclePredictor

from dpm_cli.align import align

FRAMES = 24


@pytest.fixture(scope="module")
def clip() -> AnalyticClip:
    return analytic_clip(FRAMES, size=(48, 80))


@pytest.fixture(scope="module")
def exact(clip):
    return gather(clip, graph(FRAMES), OracleNoise())


def step_rotation_deg(found: np.ndarray, clip: AnalyticClip) -> np.ndarray:
    def steps(C):
        return np.linalg.inv(C[:-1]) @ C[1:]

    difference = (
        np.swapaxes(steps(found)[:, :3, :3], 1, 2) @ steps(clip.cam2world.numpy())[:, :3, :3]
    )
    return np.degrees(np.arccos(((np.trace(difference, axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))


def test_exact_maps_give_exact_cameras_scales_and_focal(clip, exact):
    found = align(exact, FRAMES, size=clip.size)
    assert path_error(found, clip) < 1e-4
    assert scale_drift(found, exact, clip) < 1e-4
    assert step_rotation_deg(found.cameras.cam2world, clip).max() < 1e-3
    assert np.allclose(found.cameras.intrinsics, clip.K.numpy(), rtol=1e-5)
    assert np.array_equal(found.cameras.cam2world[0], np.eye(4))
    assert found.cameras.registered.all()
    assert (found.shot == 0).all()
    assert found.usable.all()
    assert found.notes == ()


@pytest.mark.parametrize("seed", [0, 1])
def test_one_wrong_pair_in_ten_changes_nothing(clip, seed):
    noise = OracleNoise(wrong_share=0.1, seed=seed)
    pairs = graph(FRAMES)
    passes, oracle = gather(clip, pairs, noise), OraclePredictor(clip, noise)
    wrong = np.array([oracle.is_wrong(*p) for p in pairs.tolist()])
    assert 4 <= wrong.sum() <= 14
    found = align(passes, FRAMES, size=clip.size)
    assert not found.usable[wrong].any()
    assert found.usable[~wrong].all()
    assert path_error(found, clip) < 1e-4
    assert scale_drift(found, passes, clip) < 1e-4
    assert "contradict" in found.notes[0]


def test_independent_noise_of_two_percent(clip):
    # 48x80 holds a 38th of the pixels of 288x512, so 6.2 times the 0.2 % of the contract is the same noise.
    passes = gather(clip, graph(FRAMES), OracleNoise(independent=0.02))
    found = align(passes, FRAMES, size=clip.size)
    assert path_error(found, clip) < 6.2 * 0.002
    assert scale_drift(found, passes, clip) < 6.2 * 0.002


@pytest.mark.slow
def test_independent_noise_of_two_percent_at_full_size():
    large = analytic_clip(FRAMES, size=(288, 512))
    passes = gather(large, graph(FRAMES), OracleNoise(independent=0.02), stride=8)
    found = align(passes, FRAMES, size=large.size)
    assert path_error(found, large) < 0.002
    assert scale_drift(found, passes, large) < 0.002


def test_smooth_depth_noise_of_two_percent(clip):
    passes = gather(clip, graph(FRAMES), OracleNoise(smooth=0.02))
    found = align(passes, FRAMES, size=clip.size)
    assert path_error(found, clip) < 0.02
    assert scale_drift(found, passes, clip) < 0.02
    assert step_rotation_deg(found.cameras.cam2world, clip).max() < 0.1


def test_noise_and_wrong_pairs_together(clip):
    passes = gather(
        clip, graph(FRAMES), OracleNoise(independent=0.02, smooth=0.02, wrong_share=0.1)
    )
    found = align(passes, FRAMES, size=clip.size)
    assert path_error(found, clip) < 0.02
    assert found.cameras.registered.all()


def test_the_order_of_passes_and_their_direction_do_not_matter(clip, exact):
    order = np.random.default_rng(0).permutation(len(exact))
    a, b = (align(p, FRAMES, size=clip.size) for p in (exact, exact.select(order)))
    assert np.allclose(a.cameras.cam2world, b.cameras.cam2world, atol=1e-6)
    assert np.allclose(a.log_scale[order], b.log_scale, atol=1e-5)
    backward = gather(clip, graph(FRAMES, (1, 4))[:, ::-1].copy(), OracleNoise())
    assert path_error(align(backward, FRAMES, size=clip.size), clip) < 1e-4


def test_view_offsets_bring_every_pass_to_its_frames_depth(clip):
    passes = gather(clip, graph(FRAMES, (1, 2, 4)), OracleNoise(smooth=0.05))
    found = align(passes, FRAMES, size=clip.size)
    level = passes.log_depth + (found.log_scale[:, None] + found.view_log_offset)[..., None, None]
    plain = passes.log_depth + found.log_scale[:, None, None, None]
    spread = [
        [np.median(x[passes.pairs == t], axis=(-1, -2)).std() for t in range(FRAMES)]
        for x in (plain, level)
    ]
    assert np.mean(spread[1]) < np.mean(spread[0])


def test_per_frame_focal_follows_a_zoom(clip, exact):
    zoom = np.linspace(1, 1.3, FRAMES)
    focal = float(clip.K[0, 0]) * zoom[exact.pairs]
    passes = replace(exact, focal_px=focal)
    found = align(passes, FRAMES, size=clip.size, per_frame_focal=True)
    estimated = found.cameras.intrinsics[:-1, 0, 0] / float(clip.K[0, 0])
    assert np.allclose(estimated, zoom[:-1], rtol=1e-6)


def test_given_intrinsics_are_not_touched(clip):
    passes = gather(clip, graph(FRAMES)[:23], OracleNoise(), clip.K)
    K = clip.K.numpy()
    found = align(passes, FRAMES, size=clip.size, intrinsics=K)
    assert np.array_equal(found.cameras.intrinsics, np.broadcast_to(K, (FRAMES, 3, 3)))
    assert (found.focal.sigma_log, found.focal.source) == (0, "given")
    assert path_error(found, clip) < 1e-4


def test_scales_are_the_medians_one_so_metric_stays_metric(clip):
    passes = gather(clip, graph(FRAMES, (1, 4)), OracleNoise(log_scale=0.0))
    found = align(passes, FRAMES, size=clip.size)
    assert np.abs(found.log_scale).max() < 1e-4
    assert np.allclose(found.cameras.cam2world, clip.cam2world.numpy(), atol=1e-4)

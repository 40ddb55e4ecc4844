"""Depth from every look: recovered where flows know it, left alone where they do not."""

import numpy as np
import pytest
from analytic_scene import analytic_clip
from test_motion import SIZE, T, is_mover, look_at, true_depth

from dpm_cli.matching.consistency import targets
from dpm_cli.motion.edges import Alike, sharpened
from dpm_cli.motion.look import dot, measured, own_rays, parallax, planes
from dpm_cli.motion.one_world import agreed, changed, half_depth, half_look
from dpm_cli.motion.scene_flow import scene_flow_on_ray
from dpm_cli.motion.static_depth import DepthChange, improved_log_depth, triangulate
from dpm_cli.motion.steady import Opinion, landed, steadied, transported

TEXTURE = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
FLAT = np.full((*SIZE, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def clip():
    return analytic_clip(7, size=SIZE)


def looks(clip, log_depth, others=(T - 2, T - 1, T + 1, T + 2)):
    return [measured(log_depth, look_at(clip, T, other)) for other in others]


def test_a_wrong_depth_is_found_from_exact_flows(clip):
    exact = true_depth(clip, T)
    wrong = exact + np.float32(0.05)
    found = triangulate(TEXTURE, looks(clip, wrong))
    known = (found.worth > 0) & ~is_mover(clip, T)
    assert known.mean() > 0.8
    assert np.median(np.abs(wrong + found.change - exact)[known]) < 0.003


def test_one_look_that_lies_does_not_count(clip):
    exact = true_depth(clip, T)
    told = looks(clip, exact)
    told[1].change[:] += 2.0 / np.sqrt(told[1].slope2)
    found = triangulate(TEXTURE, told)
    still = (found.worth > 0) & ~is_mover(clip, T)
    assert np.median(np.abs(found.change)[still]) < 0.003


def test_flows_count_more_along_texture_than_in_its_absence(clip):
    exact = true_depth(clip, T)
    rich, poor = (triangulate(image, looks(clip, exact)).worth for image in (TEXTURE, FLAT))
    assert np.median(rich) > 5 * np.median(poor)


def test_where_nothing_is_known_or_things_move_the_passes_depth_stays(clip):
    exact = true_depth(clip, T)
    sure = np.full(SIZE, 20, np.float32)
    wanted = triangulate(TEXTURE, looks(clip, exact + np.float32(0.05)))
    moving = improved_log_depth(Alike(FLAT), exact, sure, wanted, np.zeros(SIZE, np.float32))
    np.testing.assert_array_equal(moving, exact)
    nothing = triangulate(TEXTURE, [])
    found = improved_log_depth(Alike(FLAT), exact, sure, nothing, sure)
    np.testing.assert_array_equal(found, exact)


def test_the_surer_of_flow_and_passes_wins():
    depth, still = np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)
    for worth, confidence, expected in ((1e5, 2.0, 0.1), (1.0, 1e3, 0.0)):
        wanted = DepthChange(np.full(SIZE, 0.1, np.float32), np.full(SIZE, worth, np.float32))
        sure = np.full(SIZE, confidence, np.float32)
        found = improved_log_depth(Alike(FLAT), depth, sure, wanted, still)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_blurred_step_of_depth_is_put_on_the_edge_of_the_image():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 200
    columns = np.arange(80)
    exact = np.where(columns < 40, 0.0, 1.0)
    blurred = np.clip((columns - 37) / 9, 0, 1)
    step = np.broadcast_to(blurred, (40, 80)).astype(np.float32).copy()
    found = sharpened(Alike(image), step, np.full((40, 80), 20, np.float32))
    sure = sharpened(Alike(image), step, np.full((40, 80), 1e3, np.float32))
    np.testing.assert_array_equal(sure, step)
    assert np.abs(found - exact).mean() < 0.2 * np.abs(blurred - exact).mean()


def test_a_slope_stays_a_slope():
    slope = np.broadcast_to(np.linspace(0, 0.8, 80, dtype=np.float32), (40, 80)).copy()
    np.testing.assert_array_equal(
        sharpened(Alike(np.zeros((40, 80, 3), np.uint8)), slope, np.ones_like(slope)), slope
    )


def test_a_neighbours_depth_arrives_at_the_frames_own_pixels(clip):
    look = look_at(clip, T, T + 2)
    seen = look.seen()[1] & ~is_mover(clip, T)
    told = transported(true_depth(clip, T), look, true_depth(clip, T + 2))
    assert np.median(np.abs(told - true_depth(clip, T))[seen]) < 2e-3


def test_flicker_goes_and_what_disagrees_does_not_count():
    exact, still = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    rng = np.random.default_rng(3)
    noisy = [exact + rng.normal(0, 0.01, SIZE).astype(np.float32) for _ in range(5)]
    seen = np.ones(SIZE, np.float32)
    opinions = [Opinion(n, seen) for n in noisy[1:]] + [Opinion(exact + 0.7, seen)]
    unsure, sure = (np.full(SIZE, c, np.float32) for c in (5, 1e4))
    assert steadied(noisy[0], unsure, still, opinions).std() < 0.6 * noisy[0].std()
    np.testing.assert_allclose(steadied(noisy[0], sure, still, opinions), noisy[0], atol=1e-4)


def test_scene_flow_ends_on_the_ray_of_the_flow_and_believes_a_sure_pass(clip):
    look, depth = look_at(clip, T, T + 1), true_depth(clip, T)
    world, number = clip.hit(T)
    moved = clip.at(world, number, T, T + 1) - world
    exact = (moved @ clip.cam2world[T, :3, :3]).numpy()
    told = planes(exact.astype(np.float32)) + np.float32(0.05)
    mover = is_mover(clip, T)
    for confidence, along in ((1e5, 0.05), (1.0, 0.0)):
        sure = np.full(SIZE, confidence, np.float32)
        found = scene_flow_on_ray(depth, sure, look, told)
        own = np.stack([r * np.exp(depth) for r in own_rays(look.K_own, SIZE)], -1)
        there = own + found.transpose(1, 2, 0)
        there = there @ look.other_from_own[:3, :3].T + look.other_from_own[:3, 3]
        pixels = there[..., :2] / there[..., 2:] * np.diag(look.K_other)[:2] + look.K_other[:2, 2]
        np.testing.assert_allclose(pixels, targets(look.flow), atol=1e-3)
        change = there[..., 2] - landed(depth, look).z
        assert np.abs(change[mover]).mean() == pytest.approx(along, abs=0.02)
    sure = np.full(SIZE, 1e5, np.float32)
    exact = planes(exact.astype(np.float32))
    assert np.abs(scene_flow_on_ray(depth, sure, look, exact) - exact)[:, mover].max() < 1e-3


OTHERS = (T - 2, T - 1, T + 1, T + 2)


def hear(clip, own_error, own_confidence, other_error, other_confidence):
    """Error of the log depth of what stands still, after one round, and before."""
    exact, mover = true_depth(clip, T), is_mover(clip, T)

    def half(t, error, confidence):
        sure, moving = np.full(SIZE, confidence, np.float32), is_mover(clip, t).astype(np.float32)
        return half_depth(true_depth(clip, t) + np.float32(error), sure, moving)

    own = half(T, own_error, own_confidence)
    looks = [half_look(look_at(clip, T, t)) for t in OTHERS]
    others = [half(t, other_error, other_confidence) for t in OTHERS]
    heard = agreed(own, own, list(zip(looks, others, strict=True)))
    found = changed(exact + np.float32(own_error), own, heard)
    inner = (slice(6, -6), slice(6, -6))
    return np.median(np.abs(found - exact)[inner][~mover[inner]]), heard, own


def test_exact_depth_stays_where_all_frames_agree(clip):
    assert hear(clip, 0, 50, 0, 50)[0] < 3e-3


def test_an_unsure_frame_hears_the_sure_ones(clip):
    error, heard, own = hear(clip, 0.2, 4, 0, 60)
    assert error < 0.02
    assert np.median(heard.confidence) > 5 * np.median(own.confidence)


def test_a_sure_frame_does_not_hear_the_unsure_ones(clip):
    assert hear(clip, 0, 60, 0.2, 4)[0] < 0.005


def test_sure_frames_that_contradict_each_other_stay(clip):
    assert hear(clip, 0.5, 60, 0, 60)[0] > 0.45


def test_a_static_world_explains_its_own_flow_at_half_size_too(clip):
    look, still = half_look(look_at(clip, T, T + 1)), ~is_mover(clip, T)[1::2, 1::2]
    half = half_depth(true_depth(clip, T), np.ones(SIZE, np.float32), np.zeros(SIZE, np.float32))
    length = np.sqrt(dot(parallax(half.log_depth, look).residual))
    assert np.median(length[still]) < 0.02
    assert look.flow.shape == (SIZE[0] // 2, SIZE[1] // 2, 2)


def test_the_rounds_change_the_whole_size_by_what_they_changed_at_half():
    rng = np.random.default_rng(0)
    fine = rng.normal(0, 1, (37, 51)).astype(np.float32)
    first = half_depth(fine, np.ones_like(fine), np.zeros_like(fine))
    last = half_depth(fine + np.float32(0.25), np.ones_like(fine), np.zeros_like(fine))
    np.testing.assert_allclose(changed(fine, first, last), fine + 0.25, atol=1e-6)

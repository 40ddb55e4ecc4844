"""The rule of motion on exact flows, depths and cameras, and what may not be taken for motion."""

from dataclasses import replace

import numpy as np
import pytest
from analytic_scene import MOVER, analytic_clip

from dpm_cli.motion.carry import Neighbour, motion_scores, without_specks
from dpm_cli.motion.evidence import Evidence, motion_evidence
from dpm_cli.motion.look import Look, dot, measured, parallax, without_camera_noise

SIZE = (48, 64)
T = 3


@pytest.fixture(scope="module")
def clip():
    return analytic_clip(7, size=SIZE)


def look_at(clip, t: int, other: int) -> Look:
    i, j = min(t, other), max(t, other)
    flow = clip.pair(i, j).flow[0].numpy().astype(np.float32)
    poses = clip.cam2world.numpy()
    K, view = clip.K.numpy(), int(t > other)
    other_from_own = np.linalg.inv(poses[other]) @ poses[t]
    return Look(other, j - i, flow[view], flow[1 - view], other_from_own, K, K)


def true_depth(clip, t: int) -> np.ndarray:
    world, _ = clip.hit(t)
    local = (
        np.linalg.inv(clip.cam2world[t].numpy())
        @ np.append(world.numpy(), np.ones((*SIZE, 1)), -1)[..., None]
    )
    return np.log(local[..., 2, 0]).astype(np.float32)


def is_mover(clip, t: int) -> np.ndarray:
    return clip.hit(t)[1].numpy() == MOVER


def evidence(clip, looks, log_depth=None, confidence=50.0, opinion=0.5) -> Evidence:
    depth = true_depth(clip, T) if log_depth is None else log_depth
    sure, said = np.full(SIZE, confidence, np.float32), np.full(SIZE, opinion, np.float32)
    return motion_evidence(sure, said, [measured(depth, look) for look in looks])


def test_a_static_world_explains_its_own_flow_exactly(clip):
    look = look_at(clip, T, T + 1)
    p = parallax(true_depth(clip, T), look)
    still = ~is_mover(clip, T)
    length = np.sqrt(dot(p.residual))
    assert length[still].max() < 1e-3
    assert length[~still].min() > 0.1


def test_the_slope_is_what_a_change_of_depth_does(clip):
    look, depth = look_at(clip, T, T + 2), true_depth(clip, T)
    step = np.float32(1e-3)
    change = parallax(depth - step, look).residual - parallax(depth + step, look).residual
    np.testing.assert_allclose(change / (2 * step), parallax(depth, look).per_log_depth, atol=0.05)


def test_movers_move_and_the_rest_does_not(clip):
    looks = [look_at(clip, T, o) for o in (T - 2, T - 1, T + 1, T + 2)]
    found = evidence(clip, looks)
    seen, mover = found.certainty == 1, is_mover(clip, T)
    assert (found.log_odds[seen & mover] > 0).all()
    assert (found.log_odds[seen & ~mover] < 0).all()
    assert (seen & mover).sum() > 20


def test_wrong_depth_is_motion_only_as_far_as_it_is_sure(clip):
    looks = [look_at(clip, T, o) for o in (T - 2, T + 2)]
    tilted = true_depth(clip, T)
    patch = np.zeros(SIZE, bool)
    patch[4:12, 4:16] = True
    tilted[patch] += 0.5
    sure, unsure = (evidence(clip, looks, tilted, c).log_odds[patch] for c in (1e3, 1.0))
    assert np.median(sure) > 0
    assert np.median(unsure) < 0


def test_what_only_one_neighbour_cannot_explain_does_not_move(clip):
    before, after = look_at(clip, T, T - 1), look_at(clip, T, T + 1)
    lost = after.flow.copy()
    lost[10:20, 10:20] += 8
    fooled = replace(after, flow=lost, back=-lost)
    odds = evidence(clip, [before, fooled]).log_odds
    still = ~is_mover(clip, T)[10:20, 10:20]
    assert (odds[10:20, 10:20][still] < 0).all()


def test_a_pixel_that_nothing_sees_is_left_to_the_predictor(clip):
    away = look_at(clip, T, T + 1)
    away = replace(away, flow=away.flow + 500)
    for opinion, sign in ((0.95, 1), (0.05, -1)):
        found = evidence(clip, [away], opinion=opinion)
        assert (np.sign(found.log_odds) == sign).all()
        assert found.certainty.max() < 0.5


def test_evidence_goes_along_the_flow_to_where_there_is_none():
    shape = (40, 60)
    unknown = Evidence(np.full(shape, -0.5, np.float32), np.full(shape, 0.1, np.float32))
    moving = np.full(shape, -3, np.float32)
    moving[10:30, 30:50] = 3
    flow = np.zeros((*shape, 2), np.float32)
    flow[..., 0] = 10
    image = np.zeros((*shape, 3), np.uint8)
    image[10:30, 20:40] = 200
    there = Neighbour(flow, np.ones(shape, bool), Evidence(moving, np.ones(shape, np.float32)))
    expected = image[..., 0] > 0
    inner = np.ones(shape, bool)
    inner[:, 48:] = False
    np.testing.assert_array_equal(
        (motion_scores(image, unknown, [there]) > 0.5)[inner], expected[inner]
    )
    assert not (motion_scores(image, unknown, []) > 0.5).any()


def test_specks_and_holes_go_and_things_stay():
    odds = np.full((100, 100), -2, np.float32)
    odds[20:60, 20:60] = 2
    odds[30:31, 30:32] = -2
    odds[80, 80] = 2
    clean = without_specks(odds) > 0
    expected = np.zeros_like(clean)
    expected[20:60, 20:60] = True
    np.testing.assert_array_equal(clean, expected)


def shown_amiss(look: Look, turn_px: float) -> Look:
    """The look by a camera whose turn about y grows down the picture: a shutter that reads line by line."""
    line = (np.arange(SIZE[0], dtype=np.float32)[:, None] - SIZE[0] / 2) / (SIZE[1] / 2)
    flow = look.flow.copy()
    flow[..., 0] += turn_px * (1 + line)
    return replace(look, flow=flow, back=-flow)  # nothing is hidden


def test_what_cameras_do_to_everything_is_no_motion(clip):
    look, depth, mover = look_at(clip, T, T + 1), true_depth(clip, T), is_mover(clip, T)
    told = shown_amiss(look, 0.6)
    unsure = np.full(SIZE, 0.5, np.float32)
    plain = measured(depth, told)
    steady = without_camera_noise(plain, depth, unsure, told)
    length = lambda seen: np.linalg.norm(seen.residual, axis=0)
    assert np.median(length(plain)[~mover]) > 0.3
    assert np.median(length(steady)[~mover]) < 0.1 * np.median(length(plain)[~mover])
    before = length(measured(depth, look))[mover]
    np.testing.assert_allclose(length(steady)[mover], before, rtol=0.3, atol=0.1)


def test_a_look_that_sees_nothing_has_no_camera_noise(clip):
    depth, look = true_depth(clip, T), look_at(clip, T, T + 1)
    blind = replace(measured(depth, look), seen=np.zeros(SIZE, bool))
    found = without_camera_noise(blind, depth, np.zeros(SIZE, np.float32), look)
    np.testing.assert_array_equal(found.residual, blind.residual)

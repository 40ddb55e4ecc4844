"""Point maps, scene flow, tracks and clouds on cases worked out by hand."""

import numpy as np
import pytest

from dpm_cli.workshop.metrics import clouds, pointmaps, scene_flow, tracks


def four_maps(height=3, width=4):
    """All points at distance 2 straight ahead of the first camera."""
    points = np.zeros((1, 2, 2, height, width, 3))
    points[..., 2] = 2.0
    return points, np.ones(points.shape[:-1], bool)


def test_four_maps_ignore_one_scale_for_all():
    points, valid = four_maps()
    assert pointmaps.mean_norm(points, valid) == pytest.approx(2.0)
    assert pointmaps.four_map_epe(points * 7, points, valid) == pytest.approx(0.0)


def test_four_map_epe_of_one_moved_map():
    # Map P_2(t_1) sits at 4 instead of 2: mean norm 2.5, so it becomes 1.6 (error .6) and the others .8 (error .2).
    points, valid = four_maps()
    wrong = points.copy()
    wrong[:, 1, 0] *= 2
    epe = pointmaps.four_map_epe(wrong, points, valid)[0]
    assert epe == pytest.approx(np.array([[0.2, 0.2], [0.6, 0.2]]))
    assert pointmaps.map_errors(wrong, points, valid).relative_ratio[0] == pytest.approx(epe)
    assert pointmaps.map_errors(wrong, points, valid).epe[0] == pytest.approx(epe)


def test_invalid_pixels_count_nowhere():
    points, valid = four_maps()
    wrong = points.copy()
    wrong[:, 0, 1, 0, 0] = 1e6
    valid[:, 0, 1, 0, 0] = False
    assert pointmaps.four_map_epe(wrong, points, valid) == pytest.approx(0.0)
    valid[:, 1, 1] = False
    assert np.isnan(pointmaps.four_map_epe(points, points, valid)[0, 1, 1])


def test_two_readings_of_relative_error_differ_as_they_should():
    # Distances 1 and 3, the mean norm is 2 in truth and prediction; both points are off by .5 in unit norm.
    truth = np.zeros((1, 2, 2, 1, 2, 3))
    truth[..., 0, 2], truth[..., 1, 2] = 1.0, 3.0
    valid = np.ones(truth.shape[:-1], bool)
    wrong = truth.copy()
    wrong[..., 0, 2], wrong[..., 1, 2] = 2.0, 2.0
    errors = pointmaps.map_errors(wrong, truth, valid)
    assert errors.relative_pointwise == pytest.approx((0.5 / 0.5 + 0.5 / 1.5) / 2)
    assert errors.relative_ratio == pytest.approx(0.5)


def test_defining_law_holds_for_a_slanted_plane_and_breaks_by_what_is_added():
    height, width, shift = 6, 8, 1.5
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    plane = np.stack((x, y, 4.0 + 0.1 * x), -1).astype(float)
    points = np.broadcast_to(plane, (1, 2, 2, height, width, 3)).copy()
    # Image 2's pixel u sees what image 1 sees at u - shift.
    points[:, 1] -= np.array((shift, 0, 0.1 * shift))
    valid = np.ones(points.shape[:-1], bool)
    flow = np.zeros((1, height, width, 2))
    flow[..., 0] = shift
    visible = np.ones((1, height, width), bool)
    assert pointmaps.defining_law_error(points, valid, flow, visible) == pytest.approx(
        0.0, abs=1e-12
    )
    norm = pointmaps.mean_norm(points, valid)
    broken = points.copy()
    broken[:, 1, 1, ..., 1] += 0.3
    error = pointmaps.defining_law_error(broken, valid, flow, visible)
    assert error[0, 0] == pytest.approx(0.0, abs=1e-12)
    assert error[0, 1] == pytest.approx(0.3 / norm[0], rel=0.02)
    # A match on the last two columns lies outside image 2: everything visible elsewhere is hidden, nothing is left.
    visible[:, :, : width - 2] = False
    assert np.isnan(pointmaps.defining_law_error(points, valid, flow, visible)).all()


def test_scene_flow_by_hand():
    # True lengths 1, 1, 0, 10; errors .04, .08, .2, .4.
    truth = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 10]])
    flow = truth + np.array([[0.04, 0, 0], [0, 0, 0.08], [0.2, 0, 0], [0, 0.4, 0]])
    errors = scene_flow.scene_flow_errors(flow, truth, np.ones(4, bool))
    assert errors.epe == pytest.approx(0.72 / 4)
    assert errors.acc_strict == pytest.approx(2 / 4)  # .04 absolutely, .4 of 10 relatively
    assert errors.acc_relaxed == pytest.approx(3 / 4)
    assert errors.size_ratio == pytest.approx(0.72 / 12)
    perfect = scene_flow.scene_flow_errors(truth, truth, np.ones(4, bool))
    assert (perfect.epe, perfect.acc_strict, perfect.size_ratio) == (0.0, 1.0, 0.0)
    standing = scene_flow.scene_flow_errors(0 * truth, truth, np.ones(4, bool))
    assert standing.size_ratio == pytest.approx(1.0)


def test_camera_frame_flow_of_a_standing_point_is_the_camera_turned_around():
    # The camera goes 2 forward, the point stands at depth 5: its depth becomes 3.
    later_from_now = np.eye(4)
    later_from_now[2, 3] = -2.0
    point = np.array([[1.0, 1.0, 5.0]])
    assert scene_flow.camera_frame_flow(point, point, later_from_now) == pytest.approx(
        np.array([[0, 0, -2.0]])
    )


def test_tracks_by_hand():
    truth = np.zeros((2, 2, 3))
    truth[..., 2] = 10.0
    wrong = truth.copy()
    wrong[0, 0, 0], wrong[0, 1, 0], wrong[1, 0, 0], wrong[1, 1, 0] = 0.05, 0.2, 0.4, 99.0
    counted = np.array([[True, True], [True, False]])
    assert tracks.track_epe(wrong, truth, counted) == pytest.approx(0.65 / 3)
    # .05 is within all four, .2 within three, .4 within two.
    assert tracks.apd(wrong, truth, counted) == pytest.approx((4 + 3 + 2) / 12)
    assert tracks.apd(truth, truth, counted) == 1.0
    # A pixel at depth 10 with focal 100 is .1: limits .1 .2 .4 .8 1.6; .2 and .4 are not below their own.
    limits = tracks.pixel_thresholds(truth, 100.0)
    assert tracks.apd(wrong, truth, counted, limits) == pytest.approx((5 + 3 + 2) / 15)


def test_clouds_by_hand():
    truth = np.array([[0.0, 0, 0], [1.0, 0, 0], [5.0, 0, 0]])
    points = np.array([[0.0, 0, 0.3], [1.0, 0, 0]])
    errors = clouds.cloud_errors(points, truth)
    assert errors.accuracy == pytest.approx(0.15)
    assert errors.completeness == pytest.approx(0.3)
    assert clouds.cloud_errors(truth, truth).completeness == 0.0
    assert np.isnan(clouds.cloud_errors(points[:0], truth).accuracy)

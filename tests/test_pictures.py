"""What the previews show is what the numbers say."""

import cv2
import numpy as np
import pytest
from test_sequence import write_run
from toy_sequence import toy_frames, toy_header

from dpm_cli.config import ExportOptions
from dpm_cli.export.cloud_view import ViewCamera, render_cloud, side_camera
from dpm_cli.export.clouds import frame_cloud
from dpm_cli.export.pictures import (
    depth_bar,
    depth_picture,
    flow_picture,
    level_colours,
    mask_picture,
    wheel_picture,
)
from dpm_cli.export.preview import colour_scale, shown_flow
from dpm_cli.export.spread import spread
from dpm_cli.formats.ply import PointCloud
from dpm_cli.sequence import Sequence4D


@pytest.fixture
def sequence(tmp_path) -> Sequence4D:
    header = toy_header()
    write_run(tmp_path / "run", header, toy_frames(header))
    return Sequence4D.open(tmp_path / "run")


def test_near_is_yellow_far_is_violet_unknown_is_grey():
    picture = depth_picture(np.array([[1.0, 10.0, 5.0]]), np.array([[True, True, False]]), (1, 10))
    near, far, unknown = picture[0].astype(int)
    assert near[0] > 200 > 100 > near[2]
    assert far[2] > far[1]
    assert unknown.tolist() == [38, 38, 38]


def test_colours_of_depth_grow_lighter_evenly():
    """Lightness (CIE L*) is what the eye orders: it must rise with the level, and by equal steps."""
    colours = level_colours(np.linspace(0, 1, 256))[None].astype(np.float32) / 255
    steps = np.diff(cv2.cvtColor(colours, cv2.COLOR_RGB2LAB)[0, ::16, 0])
    assert (steps > 0).all()
    assert steps.max() < 1.6 * steps.min()


def test_the_bar_has_the_colours_of_the_picture():
    bar = depth_bar((1.0, 4.0), 316)
    middle = depth_picture(np.array([[1.6]]), np.ones((1, 1), bool), (1.0, 4.0))[0, 0]
    assert np.abs(bar[10, 158].astype(int) - middle).max() <= 3
    assert bar[26:38].min() < 100
    ends = depth_picture(np.array([[1.0, 4.0]]), np.ones((1, 2), bool), (1.0, 4.0))[0]
    assert np.array_equal(bar[10, [8, -9]], ends)


def test_flow_colours_are_white_at_rest_and_opposite_for_opposite_directions():
    flow = np.array([[[0, 0], [5, 0], [-5, 0], [50, 0], [2.5, 0]]], np.float32)
    picture = flow_picture(flow, np.ones((1, 5), bool), 5.0)[0].astype(int)
    rest, right, left, far_right, slow = picture
    assert rest.min() == 255
    assert right[0] > right[2]
    assert left[2] > left[0]
    np.testing.assert_array_equal(far_right, right)
    np.testing.assert_allclose(slow, (255 + right) / 2, atol=1)


def test_wheel_is_a_disc_on_white():
    picture = wheel_picture(51)
    assert (picture[0, 0] == 255).all()
    assert picture[25, 25].min() > 245
    assert picture[25, 49].min() < 60


def test_masks_tint_and_outline_moving_pixels():
    image = np.full((20, 20, 3), 100, np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    picture = mask_picture(image, mask)
    assert picture[10, 10, 0] > 150
    assert picture[5, 10].tolist() == [255, 230, 0]
    assert picture[0, 0].tolist() == [80, 80, 80]


def test_a_frame_seen_from_its_own_camera_is_its_image(sequence):
    cloud = frame_cloud(sequence, 2, ExportOptions())
    camera = ViewCamera(sequence.cam2world[2], sequence.intrinsics[2], sequence.size)
    frame = sequence.frame(2)
    picture = render_cloud(cloud, camera, radius_px=0)
    np.testing.assert_array_equal(picture[frame.valid], frame.image[frame.valid])
    assert (picture[~frame.valid] == 24).all()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_point_hides_the_farther(order):
    points = np.array([[0, 0, 2], [0.2, 0, 4]], np.float32)[order]
    colors = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)[order]
    K = np.array([[20.0, 0, 10], [0, 20, 10], [0, 0, 1]])
    picture = render_cloud(PointCloud(points, colors), ViewCamera(np.eye(4), K, (21, 21)))
    assert picture[10, 10].tolist() == [255, 0, 0]
    assert picture[10, 11].tolist() == [255, 0, 0]
    assert picture[10, 12].tolist() == [0, 255, 0]
    assert picture[10, 14].tolist() == [24, 24, 24]


def test_points_behind_the_camera_are_not_drawn():
    cloud = PointCloud(np.array([[0, 0, -2]], np.float32), np.full((1, 3), 255, np.uint8))
    K = np.array([[20.0, 0, 10], [0, 20, 10], [0, 0, 1]])
    assert (render_cloud(cloud, ViewCamera(np.eye(4), K, (21, 21))) == 24).all()


def test_the_side_camera_stands_right_and_above_and_sees_most_points(sequence):
    cloud = frame_cloud(sequence, 0, ExportOptions())
    own = ViewCamera(sequence.cam2world[0], sequence.intrinsics[0], sequence.size)
    side = side_camera(cloud, own)
    rotation = side.cam2world[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    right, down, _ = side.cam2world[:3, 3]
    assert right > 1
    assert down < -0.3
    local = (cloud.points - side.cam2world[:3, 3]) @ rotation
    pixels = local @ side.intrinsics.T
    x, y = pixels[:, 0] / pixels[:, 2], pixels[:, 1] / pixels[:, 2]
    inside = (x >= -0.5) & (x < 35.5) & (y >= -0.5) & (y < 23.5) & (local[:, 2] > 0)
    assert inside.mean() >= 0.89


def test_colour_scales_cover_the_clip(sequence):
    scale = colour_scale(sequence, ExportOptions())
    depth = np.concatenate([sequence.frame(t).depth[sequence.frame(t).valid] for t in range(4)])
    near, far = scale.near_far
    assert 0.9 < ((depth >= near) & (depth <= far)).mean() < 1
    last = shown_flow(sequence.frame(3))
    assert last is not None
    backward = sequence.frame(3).flow_bwd
    assert backward is not None
    np.testing.assert_array_equal(last.flow, -backward)


def test_spread_has_both_ends_and_no_repeats():
    assert spread(1, 6) == [0]
    assert spread(4, 6) == [0, 1, 2, 3]
    chosen = spread(100, 6)
    assert (chosen[0], chosen[-1], len(chosen)) == (0, 99, 6)

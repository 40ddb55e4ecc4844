"""Points that others confirm, outliers and normals, on the exact toy with faults put in."""

import numpy as np
import pytest
from toy_sequence import NORMAL, OFFSET, toy_arrays, toy_frames, toy_header

from dpm_cli.export import ExportOptions
from dpm_cli.export.agreement import agreement
from dpm_cli.export.clouds import frame_cloud, static_cloud
from dpm_cli.sequence import Sequence4D

UNIT = NORMAL / np.linalg.norm(NORMAL)


def toy(count=4, *, near=None, far=None):
    """The toy, in frame 1 of which pixels of the slices `near` lie at half their depth, `far` at twice."""
    header = toy_header(count)
    arrays = toy_arrays(header, toy_frames(header))
    for where, factor in ((near, 0.5), (far, 2.0)):
        if where is not None:
            arrays["depth"][(1, *where)] *= factor
    return Sequence4D.from_arrays(arrays, "toy")


FLYING = (slice(3, 5), slice(4, 8))


def test_others_confirm_what_is_right_and_contradict_what_floats():
    said = agreement(toy(near=FLYING), 1)
    assert said.asked == 3
    inner = np.zeros((24, 36), bool)
    inner[4:-4, 6:-6] = True
    still = inner & (np.hypot(*np.mgrid[-12:12, -18:18]) > 8)
    still[FLYING] = False
    assert (said.confirmed[still] >= 2).all()
    assert not said.contradicted[still].any()
    assert (said.contradicted[FLYING] >= 2).all()
    assert not said.confirmed[FLYING].any()


def test_what_lies_behind_the_surface_is_neither_confirmed_nor_contradicted():
    said = agreement(toy(far=FLYING), 1)
    assert not said.confirmed[FLYING].any()
    assert not said.contradicted[FLYING].any()


def test_points_that_nobody_confirms_are_left_out():
    def off(options):
        cloud = static_cloud(toy(near=FLYING), options)
        return np.abs(cloud.points @ NORMAL - OFFSET)

    assert (off(ExportOptions()) > 0.5).sum() == 8
    checked = off(ExportOptions(min_views=1))
    assert (checked < 1e-4).all()
    assert len(checked) > 0.7 * len(off(ExportOptions()))


def test_a_single_frame_has_nobody_to_ask():
    alone = toy(1)
    assert len(frame_cloud(alone, 0, ExportOptions(min_views=3))) == 23 * 36


def test_two_frames_can_confirm_each_other():
    assert len(static_cloud(toy(2), ExportOptions(min_views=8))) > 800


def test_points_that_stand_alone_are_left_out():
    pytest.importorskip("open3d")
    alone = (slice(10, 11), slice(30, 31))
    sequence = toy(near=alone)
    dense = frame_cloud(sequence, 1, ExportOptions())
    clean = frame_cloud(sequence, 1, ExportOptions(remove_outliers=True))
    wrong = np.abs(dense.points @ NORMAL - OFFSET) > 0.5
    assert wrong.sum() == 1
    assert (np.abs(clean.points @ NORMAL - OFFSET) < 1e-4).all()
    assert len(clean) > 0.9 * len(dense)


@pytest.mark.parametrize("voxel_size", [None, 0.3])
def test_normals_are_those_of_the_plane_and_look_at_the_camera(voxel_size):
    pytest.importorskip("open3d")
    options = ExportOptions(normals=True, voxel_size=voxel_size)
    cloud = static_cloud(toy(), options)
    assert cloud.normals is not None
    assert np.linalg.norm(cloud.normals, axis=1) == pytest.approx(1, abs=1e-5)
    assert (cloud.normals @ UNIT < -0.999).all()
    frame = frame_cloud(toy(), 2, options)
    assert frame.normals is not None
    assert (frame.normals @ UNIT < -0.99).mean() > 0.97

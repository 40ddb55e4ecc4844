"""Readers on the real data that may lie beside the repository: warping by the truth must explain the images."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from dpm_cli.workshop.datasets import read_dataset
from dpm_cli.workshop.datasets.four_maps import pair_truth

SHARED = (
    Path(os.environ.get("DPM_SHARED", Path(__file__).parent.parent.parent / "shared")) / "truth"
)
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data are not here")


def photometric(image_1, image_2, flow, valid):
    """Mean absolute difference in grey levels for zero flow and for the given flow, over the same pixels."""
    height, width = valid.shape
    target = (
        np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32) + flow
    )
    inside = valid & (target >= 0).all(-1) & (target <= (width - 1, height - 1)).all(-1)
    warped = cv2.remap(image_2.astype(np.float32), target[..., 0], target[..., 1], cv2.INTER_LINEAR)
    one = image_1.astype(np.float32)
    return [float(np.abs(other - one).mean(-1)[inside].mean()) for other in (image_2, warped)]


@pytest.mark.parametrize(
    ("name", "folder", "pair", "still", "warped"),
    [
        ("sintel-clean", "sintel_flow", 1, 9.4, 1.9),
        ("kitti-flow", "kitti_flow_pair", 0, 41, 16),
        ("kitti-sceneflow", "kitti_sceneflow", 0, 22, 9),
    ],
)
def test_true_flow_explains_the_images(name, folder, pair, still, warped):
    sequence = read_dataset(name, SHARED / folder)[0]
    assert sequence.flow is not None
    i, j = sequence.flow_pairs[pair]
    truth = sequence.flow[pair]
    judged = truth.valid & truth.visible if truth.visible is not None else truth.valid
    errors = photometric(sequence.images[i], sequence.images[j], truth.flow, judged)
    assert errors == pytest.approx([still, warped], rel=0.06)


def test_registered_depth_and_cameras_explain_the_images():
    (sequence,) = read_dataset("7scenes", SHARED / "rgbd_7scenes")
    maps = pair_truth(sequence, 0, 10)  # frames 0 and 50 of the recording
    flow, valid = maps.flow[0, 0].numpy(), maps.valid[0, 0, 1].numpy()
    errors = photometric(sequence.images[0], sequence.images[10], flow, valid)
    assert errors == pytest.approx([28, 10], rel=0.1)


@pytest.mark.parametrize(
    ("name", "folder"), [("redwood", "rgbd_open3d"), ("slambook", "rgbd_slambook")]
)
def test_other_rgbd(name, folder):
    (sequence,) = read_dataset(name, SHARED / folder)
    assert len(sequence) == 5
    i, j = (0, 4) if name == "redwood" else (3, 4)
    maps = pair_truth(sequence, i, j)
    visible = maps.visible[0, 0].numpy()
    still, warped = photometric(
        sequence.images[i], sequence.images[j], maps.flow[0, 0].numpy(), visible
    )
    assert warped < 0.6 * still


def test_davis_and_flyingchairs():
    dog, drift = read_dataset("davis", SHARED / "davis2016")
    assert (len(dog), len(drift)) == (60, 50)
    assert dog.masks is not None
    assert 0.05 < (dog.masks[0] == 1).mean() < 0.2
    for pair in read_dataset("flyingchairs", SHARED / "flyingchairs"):
        assert pair.flow is not None
        truth = pair.flow[0]
        still, warped = photometric(pair.images[0], pair.images[1], truth.flow, truth.valid)
        assert warped < 0.5 * still

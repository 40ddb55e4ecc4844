from pathlib import Path

import numpy as np
import pytest
import torch
from analytic_scene import analytic_clip
from oracle import OracleNoise, OraclePredictor

from dpm_cli.errors import InputError
from dpm_cli.geometry.camera import project_map
from dpm_cli.geometry.rigid import transform_map
from dpm_cli.structures import Clip
from dpm_cli.workshop.synthetic import render_clip, scene_seed

SIZE = (24, 40)


class Frames:
    """Random pictures; the last repeats the first."""

    def __init__(self, count: int):
        self.images = np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)
        self.images[-1] = self.images[0]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices) -> np.ndarray:
        return self.images[list(indices)]


@pytest.fixture(scope="module")
def scene():
    return analytic_clip(4, size=SIZE)


def answer(oracle: OraclePredictor, i: int, j: int):
    return oracle.predict(oracle.features([i]), oracle.features([j]))


def test_exact_maps_are_the_truth_up_to_one_scale(scene):
    prediction, truth = answer(OraclePredictor(scene), 0, 2), scene.pair(0, 2)
    ratio = prediction.points / truth.points
    assert float(ratio.std() / ratio.mean()) < 1e-4
    assert float(ratio.mean()) != pytest.approx(1, abs=1e-3)


def test_noise_has_the_stated_size_and_repeats(scene):
    noise = OracleNoise(independent=0.02, log_scale=0)
    oracle, truth = OraclePredictor(scene, noise), scene.pair(0, 2)
    error = answer(oracle, 0, 2).points - truth.points
    assert float((error / truth.points.norm(dim=-1, keepdim=True)).std()) == pytest.approx(
        0.02, rel=0.05
    )
    assert torch.equal(answer(oracle, 0, 2).points, answer(oracle, 0, 2).points)
    assert float(answer(oracle, 0, 2).confidence.max()) == pytest.approx(50)


def test_smooth_noise_leaves_each_views_own_pixels_alone(scene):
    prediction = answer(OraclePredictor(scene, OracleNoise(smooth=0.02, log_scale=0)), 0, 2)
    truth = scene.pair(0, 2)
    own2 = transform_map(truth.cam2_from_cam1, prediction.points[:, 1, 1])
    own2_true = transform_map(truth.cam2_from_cam1, truth.points[:, 1, 1])
    K = scene.K.float()
    assert torch.allclose(project_map(own2, K), project_map(own2_true, K), atol=1e-3)
    stretch = own2[..., 2] / own2_true[..., 2] - 1
    assert float(stretch.std()) == pytest.approx(0.02, rel=0.2)
    assert float(stretch.diff(dim=-1).std()) < 0.3 * float(stretch.std())


def test_about_the_stated_share_of_pairs_is_wrong_and_known_to_be(scene):
    oracle = OraclePredictor(scene, OracleNoise(wrong_share=0.3, log_scale=0))
    wrong = [(i, j) for i in range(4) for j in range(4) if oracle.is_wrong(i, j)]
    assert 0 < len(wrong) < 10
    for i in range(4):
        for j in range(4):
            error = (answer(oracle, i, j).points - scene.pair(i, j).points)[:, 1].abs().max()
            assert (float(error) > 0.1) == ((i, j) in wrong)


def test_frames_are_known_by_their_pixels(scene, tmp_path: Path):
    frames = Frames(4)
    affine = np.eye(3)
    clip = Clip("x", frames, SIZE, SIZE, affine, np.arange(4), np.arange(4) / 30, "x", "x")
    oracle = OraclePredictor(scene)
    oracle.prepare(clip, None)
    images = torch.from_numpy(frames.read([2, 0, 3])).permute(0, 3, 1, 2).float() / 255
    assert oracle.encode(images)["frame"].tolist() == [2, 0, 0]
    with pytest.raises(InputError, match="not a frame"):
        oracle.encode(1 - images)


def test_rendered_clips_can_feed_it():
    clip = render_clip(scene_seed("test", 0), 3, (32, 48), camera="dolly")
    prediction, truth = (
        answer(OraclePredictor(clip, OracleNoise(log_scale=0)), 0, 2),
        clip.pair(0, 2),
    )
    seen = truth.valid
    assert torch.allclose(prediction.points[seen], truth.points[seen], rtol=1e-5)
    assert prediction.valid_logit is not None
    own = torch.stack((truth.valid[:, 0, 0], truth.valid[:, 1, 1]), 1)
    assert torch.equal(prediction.valid_logit > 0, own)
    assert bool(prediction.points.isfinite().all())

"""The large and V-DPM predictors: protocol, frames, confidence, cameras, windows."""

import dataclasses

import numpy as np
import pytest
import torch
from network_helpers import TINY_VDPM, images, public_state, tiny_multi_view, tiny_pair
from test_weights_load import WIDE

from dpm_cli.errors import WeightsError
from dpm_cli.geometry.rigid import quaternion_from_rotation, so3_exp
from dpm_cli.network.large import PairNetwork
from dpm_cli.predictors import large, load_predictor, vdpm
from dpm_cli.predictors.certainty import relative_confidence
from dpm_cli.predictors.vdpm import VdpmPredictor, cameras_from_encoding
from dpm_cli.weights.checkpoint import save_checkpoint

CPU = torch.device("cpu")


def saved(tmp_path, network, kind):
    path = tmp_path / f"{kind}.safetensors"
    config = network.config.as_dict()
    save_checkpoint(path, network.state_dict(), network=kind, config=config, licence="CC0")
    return path


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {
        "dpm-large": load_predictor("dpm-large", weights=saved(folder, tiny_pair(), "pair")),
        "vdpm": load_predictor("vdpm", weights=saved(folder, tiny_multi_view(), "multi_view")),
    }


@pytest.mark.parametrize("name", ["dpm-large", "vdpm"])
def test_pairs_in_a_batch_equal_singles_and_frames_are_encoded_once(name, predictors):
    predictor = predictors[name]
    multiple = predictor.info.multiple
    height, width = 2 * multiple, 3 * multiple
    features = predictor.encode(images(4, height, width))
    first, second = ({k: v[rows] for k, v in features.items()} for rows in ([0, 1, 3], [1, 2, 0]))
    batch = predictor.predict(first, second)
    assert batch.points.shape == (3, 2, 2, height, width, 3)
    assert batch.confidence.shape == (3, 2, 2, height, width)
    assert (batch.confidence > 0).all()
    assert torch.isfinite(batch.confidence).all()
    for i, (a, b) in enumerate([(0, 1), (1, 2), (3, 0)]):
        single = predictor.predict(
            *({k: v[f : f + 1] for k, v in features.items()} for f in (a, b))
        )
        assert (single.points[0] - batch.points[i]).abs().max() < 1e-5 * batch.points[i].abs().max()
        torch.testing.assert_close(single.confidence[0], batch.confidence[i], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["dpm-large", "vdpm"])
def test_bfloat16_is_near_float32_and_answers_in_float32(name, predictors, tmp_path):
    exact = predictors[name]
    network = tiny_pair() if name == "dpm-large" else tiny_multi_view()
    kind = "pair" if name == "dpm-large" else "multi_view"
    half = load_predictor(name, weights=saved(tmp_path, network, kind), dtype=torch.bfloat16)
    size = 2 * exact.info.multiple
    answers = []
    for predictor in (exact, half):
        features = predictor.encode(images(2, size, size))
        pair = ({k: v[i : i + 1] for k, v in features.items()} for i in range(2))
        answers.append(predictor.predict(*pair).points)
    assert answers[1].dtype == torch.float32
    assert 0 < (answers[1] - answers[0]).norm() / answers[0].norm() < 0.1


def test_a_static_file_says_so_and_gives_the_static_answer(tmp_path):
    torch.save(public_state(PairNetwork(WIDE)), tmp_path / "dust3r.pt")
    predictor = large.load(tmp_path / "dust3r.pt", CPU, torch.float32)
    assert "know no time" in predictor.info.notes[1]
    assert "non-commercial" in predictor.info.weights_licence
    features = predictor.encode(images(2, 32, 32))
    pair = ({k: v[i : i + 1] for k, v in features.items()} for i in range(2))
    points = predictor.predict(*pair).points
    assert torch.equal(points[:, :, 0], points[:, :, 1])


def test_info_carries_the_licence_and_sha256_of_the_file(predictors):
    for predictor in predictors.values():
        assert predictor.info.weights_licence == "CC0"
        assert len(predictor.info.weights_sha256) == 64
        assert predictor.info.notes == ("licence of the weights: CC0",)


def test_without_weights_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DPM_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(WeightsError, match="dpm models pull vdpm"):
        load_predictor("vdpm")
    with pytest.raises(WeightsError, match="dpm models pull monst3r"):
        load_predictor("dpm-large")


def test_confidence_is_one_over_the_expected_relative_error():
    points = torch.zeros(1, 2, 2, 4, 4, 3)
    points[..., 2] = 2.0
    points[0, 0, 0, 0, 0, 2] = 6.0
    certainty = torch.full((1, 2, 2, 4, 4), 3.0)
    confidence = relative_confidence(points, certainty, 1)
    # Loss 3 e / 2 - 0.2 log 3: the expected error is 0.2 * 2 / 3, that is 1/15 of a distance of 2.
    torch.testing.assert_close(confidence[0, 1, 1, 2, 2], torch.tensor(15.0))
    torch.testing.assert_close(confidence[0, 0, 0, 0, 0], torch.tensor(45.0))


def test_cameras_from_the_nine_numbers():
    rotation = so3_exp(torch.tensor([0.1, -0.4, 0.2], dtype=torch.float64))
    translation = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    encoding = torch.cat(
        (translation, 2.5 * quaternion_from_rotation(rotation), torch.tensor([0.8, 1.2]))
    )
    cam2world, intrinsics = cameras_from_encoding(encoding[None], (200, 300))
    point_world = torch.tensor([0.3, -0.2, 5.0], dtype=torch.float64)
    point_camera = rotation @ point_world + translation
    back = cam2world[0] @ torch.cat((point_camera, torch.ones(1, dtype=torch.float64)))
    torch.testing.assert_close(back[:3], point_world)
    assert intrinsics[0, 0, 0] == pytest.approx(150 / np.tan(0.6))
    assert intrinsics[0, 1, 1] == pytest.approx(100 / np.tan(0.4))
    assert intrinsics[0, :2, 2].tolist() == [149.5, 99.5]
    assert torch.isfinite(cameras_from_encoding(torch.zeros(1, 9), (200, 300))[1]).all()


def test_a_window_of_two_is_the_pair(predictors):
    predictor = predictors["vdpm"]
    features = predictor.encode(images(2, 28, 42))
    window = predictor.predict_window(features)
    pair = predictor.predict(*({k: v[i : i + 1] for k, v in features.items()} for i in range(2)))
    scale = pair.points.abs().max()
    assert window.points.shape == (2, 2, 28, 42, 3)
    assert (window.points.transpose(0, 1) - pair.points[0]).abs().max() < 1e-5 * scale
    assert (
        window.confidence.transpose(0, 1) - pair.confidence[0]
    ).abs().max() < 1e-3 * pair.confidence.max()
    assert window.cam2world.shape == (2, 4, 4)
    assert window.intrinsics.shape == (2, 3, 3)


def test_a_window_decodes_only_what_is_asked(predictors):
    predictor: VdpmPredictor = predictors["vdpm"]
    features = predictor.encode(images(3, 28, 28))
    whole = predictor.predict_window(features)
    some = predictor.predict_window(features, targets=[2, 0], sources=slice(1, 2))
    assert some.points.shape == (2, 1, 28, 28, 3)
    reference = whole.points[[2, 0], 1:2]
    assert (some.points - reference).abs().max() < 1e-5 * reference.abs().max()


def test_vggt_weights_say_that_they_know_no_time(tmp_path):
    config = dataclasses.replace(TINY_VDPM, decoder_depth=0, depth_head=True)
    path = saved(tmp_path, tiny_multi_view(config), "multi_view")
    predictor = vdpm.load(path, CPU, torch.float32)
    assert "know no time" in predictor.info.notes[1]

"""dpm-mini as a predictor: any size, batches, given cameras, status, and its weights file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mini_networks import shaken_network
from pictures import Frames
from safetensors.torch import load_file, save_file
from toy_pairs import toy_pairs

from dpm_cli.errors import WeightsError
from dpm_cli.geometry.camera import pixel_grid, project_map
from dpm_cli.geometry.rigid import so3_exp
from dpm_cli.network.mini import PRESETS
from dpm_cli.predictors.confidence_scale import ConfidenceScale
from dpm_cli.predictors.mini import MiniPredictor, load, network_size
from dpm_cli.predictors.mini_status import camera_status
from dpm_cli.structures import Clip
from dpm_cli.weights.mini_file import load_mini, save_mini
from dpm_cli.weights.store import SHIPPED
from dpm_cli.workshop.synthetic import sample_pairs
from dpm_cli.workshop.train.batches import Batch, measured_flow
from dpm_cli.workshop.train.confidence import fit_confidence

CPU = torch.device("cpu")


@pytest.fixture
def predictor() -> MiniPredictor:
    return MiniPredictor(shaken_network(), "0" * 64, ConfidenceScale(), CPU)


def predict(predictor: MiniPredictor, first: torch.Tensor, second: torch.Tensor):
    return predictor.predict(predictor.encode(first), predictor.encode(second))


def clip_of(images: np.ndarray) -> Clip:
    size = images.shape[1:3]
    numbers = np.arange(len(images))
    return Clip("toy", Frames(images), size, size, np.eye(3), numbers, numbers / 24.0, "toy", "0")


@pytest.mark.parametrize("size", [(60, 90), (90, 60), (96, 128), (41, 67)])
def test_any_size_gives_full_size_maps_that_obey_the_conventions(predictor, size):
    truth = toy_pairs(2, size, torch.Generator().manual_seed(1))
    out = predict(predictor, truth.images[:, 0], truth.images[:, 1])
    assert out.points.shape == (2, 2, 2, *size, 3)
    assert out.confidence.shape == (2, 2, 2, *size)
    assert out.flow is not None
    assert out.flow.shape == (2, 2, *size, 2)
    assert out.points.isfinite().all()
    assert (out.confidence > 0).all()
    assert (out.points[:, :, 0, ..., 2] > 0).all()
    assert set(out.status) <= {"ok", "still", "rotation"}
    # Own points lie on their own rays, whatever the focal length.
    slope = out.points[:, 0, 0, ..., 0] / out.points[:, 0, 0, ..., 2]
    step = slope.diff(dim=-1)
    assert torch.allclose(step, step[:, :1, :1].expand_as(step), atol=1e-5)


def test_a_batch_equals_its_singles(predictor):
    images = toy_pairs(3, (48, 80), torch.Generator().manual_seed(2)).images
    together = predict(predictor, images[:, 0], images[:, 1])
    for i in range(3):
        alone = predict(predictor, images[i : i + 1, 0], images[i : i + 1, 1])
        assert torch.allclose(together.points[i], alone.points[0], atol=1e-4)
        assert torch.allclose(together.confidence[i], alone.confidence[0], rtol=1e-3)


def test_given_intrinsics_are_the_rays(predictor):
    truth = toy_pairs(1, (48, 64), torch.Generator().manual_seed(3))
    images = (truth.images[0].permute(0, 2, 3, 1) * 255).byte().numpy()
    K = np.array([[70.0, 0, 30.0], [0, 70.0, 20.0], [0, 0, 1]])
    assert predictor.prepare(clip_of(images), K) is None
    out = predict(predictor, truth.images[:, 0], truth.images[:, 1])
    pixels = project_map(out.points[:, 0, 0], torch.from_numpy(K).float())
    assert torch.allclose(pixels, pixel_grid(48, 64)[None], atol=1e-2)
    found = predictor.prepare(clip_of(images[[0, 0]]), None)
    assert found.source == "network"
    assert "--fov" in found.note(64)
    own = predict(predictor, truth.images[:, 0], truth.images[:, 1])
    swapped = predict(predictor, truth.images[:, 1], truth.images[:, 0])
    slopes = [p.points[0, 0, 0, 0, -1, 0] / p.points[0, 0, 0, 0, -1, 2] for p in (own, swapped)]
    assert slopes[0].item() == pytest.approx(slopes[1].item(), rel=1e-5)  # one focal a clip


def test_network_size_keeps_aspect_and_area():
    for size in ((288, 512), (512, 288), (480, 640), (96, 128), (1000, 1000), (200, 800)):
        h, w = network_size(*size)
        assert h % 16 == w % 16 == 0
        assert 0.7 < h * w / (96 * 128) < 1.35
        assert abs(np.log(h / w) - np.log(size[0] / size[1])) < 0.12


def test_status_tells_still_turning_and_moving_cameras():
    height, width, f = 72, 128, 100.0
    grid = pixel_grid(height, width)
    x, y = grid[..., 0] - 63.5, grid[..., 1] - 35.5
    half = float(np.hypot(height, width) / 2)
    a, b = 0.02, -0.03
    turning = torch.stack(
        (a * x * y / f - b * (f + x * x / f), a * (f + y * y / f) - b * x * y / f), -1
    )
    parallax = torch.where(grid[..., :1] < 60, 2.0, 0.0) * torch.tensor((1.0, 0.2))
    flows = torch.stack((torch.zeros_like(turning), turning, turning + parallax))
    weight = torch.ones(3, height, width)
    focal = torch.full((3,), f / half)
    exact = torch.zeros_like(weight)
    assert camera_status(flows, exact, weight, focal) == ("still", "rotation", "ok")
    rays = (
        torch.stack((x / f, y / f, torch.ones_like(x)), -1)
        @ so3_exp(torch.tensor((0.15, 0.08, 0.05))).T
    )
    far = (rays[..., :2] / rays[..., 2:] * f - torch.stack((x, y), -1))[None]
    assert camera_status(far, exact[:1], weight[:1], focal[:1]) == ("rotation",)
    mover = torch.zeros(1, height, width, 2)
    mover[:, :, :90] = 5.0
    static = torch.ones(1, height, width)
    static[:, :, :90] = 0.02
    assert camera_status(mover, exact[:1], static, focal[:1]) == ("still",)
    shaky = flows + 0.2 * torch.randn(flows.shape, generator=torch.Generator().manual_seed(0))
    assert camera_status(shaky, exact, weight, focal) == ("ok", "ok", "ok")
    known = torch.full_like(weight, 0.2)
    assert camera_status(shaky, known, weight, focal) == ("still", "rotation", "ok")
    assert camera_status(flows, 50 * known, weight, focal)[2] == "ok", "movement beyond a third px"


def test_calibrated_confidence_is_one_over_the_error():
    truth = toy_pairs(8, (32, 48), torch.Generator().manual_seed(4))
    network = shaken_network()
    flow = measured_flow(truth.images)
    found = fit_confidence(network, [Batch(truth, flow, torch.zeros(8), torch.full((8,), 0.3))])
    with torch.no_grad():
        out = network(truth.images, flow)
    expected = 1 / found.confidence(out.log_confidence)
    ratio = truth.points.norm(dim=-1) / out.points.norm(dim=-1)
    scale = ratio.flatten(1).median(1).values[:, None, None, None, None, None]
    error = (out.points * scale - truth.points).norm(dim=-1) / truth.points.norm(dim=-1)
    for view in (0, 1):
        for time in (0, 1):
            wanted = float(error[:, view, time].mean())
            assert float(expected[:, view, time].mean()) == pytest.approx(wanted, rel=0.35)
    assert ConfidenceScale.from_json(found.to_json()) == found


def test_weights_round_trip(tmp_path):
    network = shaken_network()
    path = tmp_path / "w.safetensors"
    scale = ConfidenceScale(motion_bias=0.5)
    checksum = save_mini(path, network, {"calibration": scale.to_json(), "data": "toy"})
    predictor = load(path, CPU)
    assert predictor.info.weights_sha256 == checksum
    assert predictor.info.name == "dpm-mini"
    assert predictor.scale == scale
    images = toy_pairs(1, (48, 64), torch.Generator().manual_seed(5)).images
    before = MiniPredictor(network, "", scale, CPU)
    a, b = (predict(p, images[:, 0], images[:, 1]).points for p in (before, predictor))
    assert torch.allclose(a, b, rtol=2e-2, atol=1e-2)  # stored as float16


def test_wrong_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(WeightsError, match="no weights at"):
        load_mini(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(WeightsError, match="no readable safetensors"):
        load_mini(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="does not hold"):
        load_mini(tmp_path / "other.safetensors")
    good = tmp_path / "good.safetensors"
    save_mini(good, shaken_network(), {})
    metadata = dict(load_mini(good).metadata)
    tensors = load_file(good)
    tensors["head.bias"] = tensors["head.bias"] + 1
    save_file(tensors, tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match="damaged"):
        load_mini(tmp_path / "bad.safetensors")
    metadata["config"] = PRESETS["mini"].to_json()
    save_file(load_file(good), tmp_path / "size.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match="does not fit"):
        load_mini(tmp_path / "size.safetensors")


def test_the_shipped_weights():
    found = load_mini()
    assert Path(SHIPPED).stat().st_size <= 32e6
    assert {"config", "data", "steps", "date", "sha256", "calibration"} <= set(found.metadata)
    truth = sample_pairs(
        8, size=(96, 128), split="test", generator=torch.Generator().manual_seed(6), strides=(3, 3)
    )
    out = predict(load(None, CPU), truth.images[:, 0], truth.images[:, 1])
    z, g = out.points[:, 0, 0, ..., 2], truth.points[:, 0, 0, ..., 2]
    known = truth.valid[:, 0, 0]
    errors = []
    for guess in (z, torch.ones_like(z)):
        ratio = (g / guess).masked_fill(~known, torch.nan).flatten(1).nanmedian(1).values
        error = (guess * ratio[:, None, None] - g).abs() / g.clamp_min(1e-6)
        errors.append(error[known].mean().item())
    assert errors[0] < 0.8 * errors[1]

"""dpm-mini beside a depth prior: where it is told, what it changes, what it must not change, how it is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mini_networks import shaken_network
from pictures import Frames
from toy_pairs import toy_pairs

from dpm_cli.errors import UsageError
from dpm_cli.geometry.rigid import so3_log, transform_map
from dpm_cli.network.mini import PRESETS
from dpm_cli.network.mini.parallax import CameraHint
from dpm_cli.network.mini.told import align_prior
from dpm_cli.network.mini.warp import half_diagonal
from dpm_cli.predictors.confidence_scale import ConfidenceScale
from dpm_cli.predictors.mini import MiniPredictor, load
from dpm_cli.predictors.protocol import FRAME, HearsPrior
from dpm_cli.structures import Clip
from dpm_cli.weights.mini_file import load_mini, save_mini
from dpm_cli.workshop.synthetic.prior_errors import imitate_prior
from dpm_cli.workshop.train.grow import with_told_decoder
from dpm_cli.workshop.train.recipe import choose_recipe

CPU = torch.device("cpu")
SIZE = (48, 64)


def own_depth(truth) -> torch.Tensor:
    """(B, 2, H, W) of both views in their own cameras."""
    second = transform_map(truth.cam2_from_cam1, truth.points[:, 1, 1])
    return torch.stack((truth.points[:, 0, 0, ..., 2], second[..., 2]), 1)


def pair_and_depth():
    truth = toy_pairs(2, SIZE, torch.Generator().manual_seed(1))
    return truth, own_depth(truth)


def test_the_first_decoder_says_the_same_with_and_without_a_second():
    truth, _ = pair_and_depth()
    network = shaken_network()
    alone = network(truth.images, truth.flow)
    both = with_told_decoder(network)(truth.images, truth.flow)
    assert torch.equal(alone.points, both.points)
    assert torch.equal(alone.maps, both.maps)


def test_a_right_prior_makes_depth_better_even_before_training():
    truth, depth = pair_and_depth()
    network = with_told_decoder(shaken_network())
    focal = truth.intrinsics[:, 0, 0, 0]
    z = truth.points[:, :, 0, ..., 2].log()

    def spread(out):
        off = (out.log_depth - z).flatten(2)
        return (off - off.median(2, keepdim=True).values).abs().mean()

    without = network(truth.images, truth.flow, focal)
    with_prior = network(truth.images, truth.flow, focal, prior=7.0 / depth)
    assert spread(with_prior) < 0.9 * spread(without)


def test_units_of_a_prior_mean_nothing():
    truth, depth = pair_and_depth()
    network = with_told_decoder(shaken_network())
    one, other = (network(truth.images, truth.flow, prior=k / depth).maps for k in (1.0, 50.0))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def hint_of(rho: torch.Tensor, spread: float) -> CameraHint:
    planes = (rho.log(), rho, torch.full_like(rho, spread).log(), torch.full_like(rho, 0.1).log())
    return CameraHint(torch.stack(planes, 2), torch.zeros(len(rho), 8))


def test_clear_parallax_moves_scale_and_shift_towards_the_truth():
    generator = torch.Generator().manual_seed(2)
    rho = (2.4 * torch.rand(1, 2, 96, 128, generator=generator) - 1.2).exp()
    q = (rho + 0.3) / 1.2
    told = align_prior(
        q, hint_of(rho, 0.01), torch.ones_like(rho), torch.zeros(1, 6), torch.ones(1)
    )
    raw = (q / q.median()).log()
    assert (told.log_depth + rho.log()).abs().mean() < 0.8 * (raw - rho.log()).abs().mean()
    blind = align_prior(
        q, hint_of(rho, 20.0), torch.ones_like(rho), torch.zeros(1, 6), torch.ones(1)
    )
    torch.testing.assert_close(blind.log_depth, -raw, rtol=0, atol=0.01)


def test_the_second_view_is_told_in_the_first_camera():
    """Static toy pairs: both views' points at t_1 have the depth that the prior tells, in one scale."""
    truth = toy_pairs(1, SIZE, torch.Generator().manual_seed(3))
    depth = own_depth(truth)
    z = truth.points[:, :, 0, ..., 2]
    still = ~truth.moving
    focal = truth.intrinsics[:, 0, 0, 0] / half_diagonal(*SIZE)
    typical = depth.median()
    T = truth.cam2_from_cam1
    pose = torch.cat((so3_log(T[:, :3, :3]), T[:, :3, 3] / typical), 1)
    hint = hint_of(torch.ones_like(depth), 20.0)
    told = align_prior(1 / depth, hint, torch.ones_like(depth), pose, focal)
    off = (told.log_depth - z.log())[still]
    torch.testing.assert_close(off, off.median().expand_as(off), rtol=0, atol=0.02)


def clip_of(images: np.ndarray) -> Clip:
    numbers = np.arange(len(images))
    size = images.shape[1:3]
    return Clip("toy", Frames(images), size, size, np.eye(3), numbers, numbers / 24.0, "toy", "0")


def test_the_predictor_tells_it_to_pairs_without_parallax_only():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    predictor = MiniPredictor(with_told_decoder(shaken_network()), "0" * 64, ConfidenceScale(), CPU)
    assert isinstance(predictor, HearsPrior)
    predictor.prepare(
        clip_of(np.repeat(picture, 3, 0)), np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    )
    asked = []

    def prior(t: int) -> np.ndarray:
        asked.append(t)
        return np.linspace(0.5, 2, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)

    image = torch.from_numpy(picture).permute(0, 3, 1, 2).float() / 255
    first = predictor.encode(image) | {FRAME: torch.tensor([0])}
    second = predictor.encode(image) | {FRAME: torch.tensor([2])}
    without = predictor.predict(first, second)
    assert without.status == ("still",)
    predictor.tell(prior)
    told = predictor.predict(first, second)
    assert asked == [0, 2]
    assert not torch.equal(told.points, without.points)
    shifted = predictor.encode(image.roll(3, -1)) | {FRAME: torch.tensor([2])}
    predictor.tell(None)
    assert torch.equal(predictor.predict(first, second).points, without.points)
    asked.clear()
    predictor.tell(prior)
    moved = predictor.predict(first, shifted)
    assert (moved.status == ("ok",)) == (asked == [])


def test_only_weights_with_a_second_decoder_hear_a_prior():
    for network, hears in ((shaken_network(), False), (with_told_decoder(shaken_network()), True)):
        assert MiniPredictor(network, "0" * 64, ConfidenceScale(), CPU).hears_prior == hears


def test_imitated_priors_keep_units_free_and_the_sky_mostly_unknown():
    _, depth = pair_and_depth()
    depth = depth.repeat(40, 1, 1, 1)
    depth[:, :, :5] = 0
    prior = imitate_prior(depth, torch.Generator().manual_seed(0))
    again = imitate_prior(depth * 9, torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior, again, rtol=1e-3, atol=1e-4)
    unknown = (prior[:, :, :5] == 0).float().mean()
    assert 0.5 < unknown < 0.9
    seen = depth > 0
    error = ((prior * depth).log()[seen].unflatten(0, (len(depth), -1))).abs()
    off = error - error.median(1, keepdim=True).values
    assert 0.01 < off.abs().mean() < 0.3


def test_only_the_second_decoder_learns(tmp_path: Path):
    path = tmp_path / "small.safetensors"
    save_mini(path, shaken_network(), {"calibration": ConfidenceScale(motion_bias=0.5).to_json()})
    recipe = choose_recipe(None, path, prior=True)
    network = recipe.network()
    learning = {n for n, p in network.named_parameters() if p.requires_grad}
    assert learning
    assert all(name.startswith("told.") for name in learning)
    copied = {n for n in learning if n.removeprefix("told.") in dict(network.named_parameters())}
    for name in copied:
        own = network.get_parameter(name.removeprefix("told."))
        assert torch.equal(network.get_parameter(name), own)
    out = tmp_path / "out.safetensors"
    recipe.save(out, network, {"pairs": "7"}, [])
    loaded = load(out, CPU)
    assert loaded.scale.motion_bias == 0.5
    assert load_mini(out).metadata["told_pairs"] == "7"
    assert loaded.network.told is not None


def test_a_prior_needs_weights_to_begin_with():
    with pytest.raises(UsageError, match="--init"):
        choose_recipe("mini", None, prior=True)


def test_config_of_older_weights_has_one_decoder():
    config = PRESETS["tiny"]
    text = config.to_json().replace(', "told": false', "")
    assert "told" not in text
    assert type(config).from_json(text) == config
    assert replace(config, told=True) != config

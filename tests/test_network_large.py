"""The pair network: batches, shapes, time by head, precision."""

import dataclasses

import pytest
import torch
from network_helpers import TINY, TINY_STATIC, images, tiny_pair

from dpm_cli.errors import InputError
from dpm_cli.network.large import PairNetwork
from dpm_cli.network.pair_config import PAIR_SIZES, PairConfig


@pytest.fixture(scope="module")
def network():
    return tiny_pair()


@torch.no_grad()
def test_a_batch_equals_its_singles_and_encoding_once(network):
    first, second = images(3, 48, 80), images(3, 48, 80, seed=1)
    batch = network(first, second)
    tokens = network.encode(torch.cat((first, second)))
    for i in range(3):
        single = network(first[i : i + 1], second[i : i + 1])
        cached = network.decode(tokens[i : i + 1], tokens[i + 3 : i + 4])
        scale = batch.points[i].abs().max()
        assert (single.points[0] - batch.points[i]).abs().max() < 1e-5 * scale
        assert (cached.points[0] - batch.points[i]).abs().max() < 1e-5 * scale
        torch.testing.assert_close(single.certainty[0], batch.certainty[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (48, 80), (80, 16)])
@pytest.mark.parametrize("head", ["dpt", "linear"])
@torch.no_grad()
def test_any_multiple_of_the_patch_also_portrait_and_odd(head, size):
    network = tiny_pair(dataclasses.replace(TINY, head=head))
    maps = network(images(1, *size), images(1, *size, seed=1))
    assert maps.points.shape == (1, 2, 2, *size, 3)
    assert maps.certainty.shape == (1, 2, 2, *size)
    assert torch.isfinite(maps.points).all()
    assert (maps.certainty >= 1).all()


@torch.no_grad()
def test_time_is_fixed_by_the_head_and_a_static_network_knows_none(network):
    pair = images(1, 32, 48), images(1, 32, 48, seed=1)
    moving = network(*pair).points
    assert (moving[:, :, 0] - moving[:, :, 1]).abs().max() > 1e-3
    static = tiny_pair(TINY_STATIC)(*pair).points
    torch.testing.assert_close(static[:, :, 0], static[:, :, 1], rtol=0, atol=0)


@torch.no_grad()
def test_the_order_of_the_images_matters(network):
    a, b = images(1, 32, 48), images(1, 32, 48, seed=1)
    assert (network(a, b).points - network(b, a).points).abs().max() > 1e-3


def test_images_that_do_not_fit_the_patch_are_refused(network):
    with pytest.raises(InputError, match="multiples of 16"):
        network.encode(images(1, 40, 48))


@torch.no_grad()
def test_blocks_in_bfloat16_leave_heads_in_float32(network):
    pair = images(2, 32, 48), images(2, 32, 48, seed=1)
    exact = network(*pair)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(*pair)
    assert half.points.dtype == torch.float32
    error = (half.points - exact.points).norm() / exact.points.norm()
    assert 0 < error < 0.1


def test_every_parameter_gets_a_gradient():
    network = tiny_pair()
    # Inference first: cached position tables must not be inference tensors.
    with torch.inference_mode():
        network(images(1, 32, 48), images(1, 32, 48, seed=1))
    maps = network(images(2, 32, 48), images(2, 32, 48, seed=1))
    (maps.points.square().mean() + maps.certainty.log().mean()).backward()
    assert [
        name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


def test_sizes():
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in PairNetwork(c).parameters())
            for name, c in PAIR_SIZES.items()
        }
    assert counts["large"] == 606_853_136
    assert counts["tiny-pair"] < 1_000_000
    assert 70_000_000 < counts["base-pair"] < 80_000_000
    assert PairConfig.from_dict(PAIR_SIZES["tiny-pair"].as_dict()) == PAIR_SIZES["tiny-pair"]

"""Muon's steps, and networks that grow without changing what they say."""

from copy import deepcopy

import pytest
import torch

from dpm_cli.errors import UsageError
from dpm_cli.network.mini import PRESETS, MiniConfig, MiniNetwork
from dpm_cli.workshop.train.grow import grow
from dpm_cli.workshop.train.optimiser import MuonAdamW, orthogonal


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_singular_values_become_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.4
    # The directions stay those of the matrix.
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    aligned = (u.T @ orthogonal(matrix) @ v.T).diagonal()
    assert aligned.min() > 0.5


def test_inner_matrices_take_steps_of_one_size_whatever_the_gradient():
    network = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Linear(32, 4))
    before = [p.detach().clone() for p in network.parameters()]
    optimiser = MuonAdamW(network, ("0.",), weight_decay=0.0)
    for group in optimiser.param_groups:
        group["lr"] = 0.1
    (1e-3 * network(torch.randn(5, 8)).square().sum()).backward()
    optimiser.step()
    steps = [
        (p.detach() - b).square().mean().sqrt()
        for p, b in zip(network.parameters(), before, strict=True)
    ]
    # Eight orthogonal rows of length one over 8 x 32 numbers, times 0.2 sqrt(32): 0.2 of the rate each.
    assert float(steps[0]) == pytest.approx(0.1 * 0.2, rel=0.3)
    assert all(s > 0 for s in steps)


def test_state_goes_on_after_loading():
    def step(network, optimiser):
        optimiser.zero_grad()
        network(torch.ones(2, 8)).square().sum().backward()
        for group in optimiser.param_groups:
            group["lr"] = 0.01
        optimiser.step()

    torch.manual_seed(0)
    one = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))
    first = MuonAdamW(one, ("0.",), 0.02)
    step(one, first)
    other = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 2))
    other.load_state_dict(one.state_dict())
    second = MuonAdamW(other, ("0.",), 0.02)
    second.load_state_dict(deepcopy(first.state_dict()))
    step(one, first)
    step(other, second)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_grown_network_says_the_same_and_can_learn():
    torch.manual_seed(0)
    small = MiniNetwork(PRESETS["tiny"])
    for p in small.parameters():
        torch.nn.init.normal_(p, std=0.05)
    large = grow(small, MiniConfig(16, 16, 32, 32, 1, 2, 3, 2))
    images, flow = torch.rand(2, 2, 3, 32, 48), torch.randn(2, 2, 32, 48, 2)
    assert torch.allclose(small(images, flow).points, large(images, flow).points, atol=1e-5)
    large(images, flow).points.square().mean().backward()
    for name in ("attention.2.out.weight", "attention.2.fall.weight", "encode_8.1.second.weight"):
        gradient = dict(large.named_parameters())[name].grad
        assert gradient is not None
        assert gradient.abs().max() > 0, name


def test_growing_in_width_is_refused():
    with pytest.raises(UsageError, match="depth"):
        grow(MiniNetwork(PRESETS["tiny"]), PRESETS["mini"])

"""Scenes stay what they were, and fused kernels render what plain torch does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.exc import Unsupported

from dpm_cli.workshop.synthetic import fuse, render_clips, sample_pairs, scene_seed
from dpm_cli.workshop.synthetic.fuse import counting, fusing, hot

GOLDEN = Path(__file__).parent / "synthetic_golden.npz"


def pairs(batch=3, size=(24, 32), **options):
    generator = torch.Generator().manual_seed(3)
    return sample_pairs(batch, size=size, generator=generator, **options)


def share_that_differs(found, golden, tolerance):
    found, golden = np.asarray(found, np.float64), golden.astype(np.float64)
    return (np.abs(found - golden) > tolerance * (1 + np.abs(golden))).mean()


def test_every_seed_renders_what_it_always_did():
    """Networks and tables stand on these scenes. Another processor may round an outline pixel differently."""
    golden = np.load(GOLDEN)
    cut = (..., slice(5, None, 12), slice(7, None, 12))
    clips = render_clips([scene_seed("val", i) for i in range(10)], 3, (64, 80))
    assert share_that_differs(clips.depth[cut], golden["depth"], 1e-5) < 0.002
    assert share_that_differs(clips.object_id[cut], golden["object_id"], 0) < 0.002
    assert share_that_differs(clips.images[cut], golden["images"], 0.02) < 0.01
    truth = pairs(24, (64, 96), still_fraction=0.25)
    points = truth.points[:, :, :, 5::16, 7::16]
    assert share_that_differs(points, golden["points"], 1e-5) < 0.002
    assert share_that_differs(truth.flow[:, :, 5::16, 7::16], golden["flow"], 1e-4) < 0.002
    assert share_that_differs(truth.visible[cut], golden["visible"], 0) < 0.002
    assert share_that_differs(truth.images[cut] * 255, golden["pair_images"], 0.02) < 0.01


@pytest.fixture
def traced(monkeypatch):
    """Compile by tracing alone: no code is generated, but a graph break is an error all the same."""
    compiled = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, **options: compiled(f, backend="eager", **options)
    )


@pytest.mark.slow
def test_hot_functions_have_no_graph_breaks_and_give_the_same_pairs(traced):
    plain, fused = pairs(), pairs(compile=True)
    for name, value in vars(plain).items():
        assert torch.allclose(value.float(), getattr(fused, name).float(), atol=1e-5), name


@pytest.mark.slow
def test_compiled_pairs_equal_plain_ones():
    plain, fused = pairs(), pairs(compile=True)
    for name, value in vars(plain).items():
        found = getattr(fused, name).double().numpy()
        assert share_that_differs(found, value.double().numpy(), 1e-3) < 0.005, name


def test_a_hot_function_is_compiled_only_where_asked_for(traced):
    modes = []

    @hot
    def double(x):
        modes.append(torch.compiler.is_compiling())
        return 2 * x

    one = torch.ones(3)
    assert torch.equal(double(one), 2 * one)
    assert modes == [False]
    with fusing(True):
        assert torch.equal(double(one), 2 * one)
    assert modes[-1]
    double(one)
    assert not modes[-1]
    with pytest.raises(Unsupported), fusing(True):
        hot(lambda x: (x + 1, torch._dynamo.graph_break()))(one)


def test_traffic_of_known_functions():
    @hot
    def chain(x):
        return ((x + 1) * 2).sin()

    x = torch.ones(1000)
    with counting() as traffic:
        y = chain(x)
        y.view(10, 100).cumsum(0)
    assert traffic.eager_bytes == (3 + 1) * 2 * 4000
    assert traffic.fused_bytes == (1 + 1) * 2 * 4000
    assert traffic.operations == 4000
    assert traffic.by_function == {"chain": 8000, "lists": 8000}
    with counting() as traffic:
        torch.mm(torch.ones(50, 20), torch.ones(20, 30))
    assert traffic.operations >= 2 * 50 * 20 * 30
    assert fuse._TRAFFIC.get() is None


def test_fused_kernels_move_a_fraction_of_the_bytes():
    pairs()
    with counting() as traffic:
        pairs(8, (48, 64))
    assert traffic.fused_bytes < traffic.eager_bytes / 10
    assert set(traffic.by_function) >= {"analytic_hits", "surface", "lit", "develop", "pair"}

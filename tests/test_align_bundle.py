"""Bundle adjustment: exact worlds stay, wrong cameras and depth are found again, movers do no harm."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dpm_cli.align import Alignment, FlowGrid, ToldDepth, bundle, refine_on_flows
from dpm_cli.align.bundle import Bundle, adjust
from dpm_cli.align.correction import DepthCorrection, confidence_change, smooth_correction
from dpm_cli.focal import FocalEstimate
from dpm_cli.geometry.camera import intrinsics_matrix, project, rays
from dpm_cli.geometry.rigid import invert, se3_exp, transform
from dpm_cli.structures import Cameras

T, ROWS, COLUMNS, SIZE = 6, 9, 12, (72, 96)
STRIDES = (1, 2, 4)


@pytest.fixture(scope="module")
def world():
    """Cameras on an arc before a bumpy surface, and the exact flow of all passes on a grid of 8 pixels."""
    generator = torch.Generator().manual_seed(0)
    times = torch.arange(T, dtype=torch.float64)
    twist = torch.stack(
        (0.08 * times, 0.01 * times**2, 0 * times, 0 * times, 0.01 * times, 0 * times), 1
    )
    cam2world = se3_exp(twist)
    K = intrinsics_matrix(torch.full((T,), 80.0, dtype=torch.float64), *SIZE)
    y, x = torch.meshgrid(
        4.0 + 8 * torch.arange(ROWS), 4.0 + 8 * torch.arange(COLUMNS), indexing="ij"
    )
    pixels = torch.stack((x, y), -1).double()
    depth = 2 + 2 * torch.rand(T, ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    pairs = np.array([(i, i + s) for s in STRIDES for i in range(T - s)])
    flow = np.zeros((len(pairs), 2, ROWS, COLUMNS, 2), np.float32)
    for e, pair in enumerate(pairs):
        for view in (0, 1):
            i, j = int(pair[view]), int(pair[1 - view])
            points = rays(pixels.reshape(-1, 2), K[i]) * depth[i].reshape(-1, 1)
            there = transform(invert(cam2world[j]) @ cam2world[i], points)
            landed = project(there, K[j]).reshape(ROWS, COLUMNS, 2)
            flow[e, view] = (landed - pixels).numpy()
    weight = np.ones(flow.shape[:-1], np.float32)
    grid = FlowGrid.on_image(pairs, flow, weight, SIZE, 8)
    np.testing.assert_array_equal(grid.pixels, pixels.numpy())
    return grid, cam2world.numpy(), K.numpy(), depth.log().numpy()


FREE = np.arange(T) > 0


def errors(bundle, cam2world, log_depth):
    """Error of centres over the path, and median error of log depth, each after the best common scale."""
    path = np.linalg.norm(np.diff(cam2world[:, :3, 3], axis=0), axis=1).sum()
    scale = np.exp(np.median(log_depth - bundle.log_depth))
    centres = np.linalg.norm(scale * bundle.cam2world[:, :3, 3] - cam2world[:, :3, 3], axis=1)
    return centres.max() / path, np.median(np.abs(np.log(scale) + bundle.log_depth - log_depth))


def test_an_exact_world_stays(world):
    grid, cam2world, K, log_depth = world
    found = adjust(grid, cam2world, K, log_depth, np.full_like(log_depth, 20.0), FREE)
    assert np.abs(found.cam2world - cam2world).max() < 1e-5
    assert np.abs(found.log_depth - log_depth).max() < 1e-4
    assert np.array_equal(found.intrinsics, K)
    found = adjust(grid, cam2world, K, log_depth, np.full_like(log_depth, 20.0), FREE, 0.1)
    assert np.abs(found.intrinsics / np.where(K, K, 1) - (K != 0)).max() < 1e-5
    assert np.abs(found.cam2world - cam2world).max() < 1e-5


@pytest.mark.parametrize("error", [0.9, 1.12])
def test_a_wrong_focal_length_is_found_again(world, error):
    grid, cam2world, K, log_depth = world
    wrong = K.copy()
    wrong[:, (0, 1), (0, 1)] *= error
    sure = np.full_like(log_depth, 2.0)
    found = adjust(grid, cam2world, wrong, log_depth, sure, FREE, 0.2)
    assert abs(found.intrinsics[0, 0, 0] / K[0, 0, 0] - 1) < 0.02 < abs(error - 1)
    assert found.intrinsics[:, 0, 2] == pytest.approx(K[:, 0, 2])
    assert (found.intrinsics == found.intrinsics[0]).all()
    camera, _ = errors(found, cam2world, log_depth)
    stuck, _ = errors(adjust(grid, cam2world, wrong, log_depth, sure, FREE), cam2world, log_depth)
    assert camera < stuck


def test_wrong_cameras_and_depth_are_found_again(world):
    grid, cam2world, K, log_depth = world
    generator = torch.Generator().manual_seed(1)
    noise = 0.02 * torch.randn(T, 6, generator=generator, dtype=torch.float64)
    noise[0] = 0
    wrong = (torch.from_numpy(cam2world) @ se3_exp(noise)).numpy()
    bent = log_depth + 0.2 * np.linspace(-1, 1, COLUMNS)
    before, _ = errors(Bundle(wrong, K, bent, 0 * bent, 0 * bent), cam2world, log_depth)
    found = adjust(grid, wrong, K, bent, np.full_like(bent, 5.0), FREE)
    camera, depth = errors(found, cam2world, log_depth)
    assert camera < 0.03 < 0.05 < before
    assert depth < 0.02
    assert np.array_equal(found.cam2world[0], wrong[0])


def test_how_many_parts_are_summed_at_once_changes_nothing(world, monkeypatch):
    grid, cam2world, K, log_depth = world
    bent = log_depth + 0.1 * np.random.default_rng(0).normal(size=log_depth.shape)
    sure, found = np.full_like(bent, 5.0), []
    for at_once in (2, T):
        monkeypatch.setattr(bundle, "_AT_ONCE", at_once)
        found.append(adjust(grid, cam2world, K, bent, sure, FREE, 0.1))
    np.testing.assert_allclose(found[0].cam2world, found[1].cam2world, atol=1e-9)
    np.testing.assert_allclose(found[0].log_depth, found[1].log_depth, atol=1e-8)


def test_a_mover_does_not_bend_the_world(world):
    grid, cam2world, K, log_depth = world
    flow = grid.flow.copy()
    flow[:, 0, 2:5, 3:6] += (3.0, -4.0)
    flow[:, 1, 2:5, 3:6] -= (3.0, -4.0)
    found = adjust(
        replace(grid, flow=flow), cam2world, K, log_depth, np.full_like(log_depth, 20.0), FREE
    )
    camera, _ = errors(found, cam2world, log_depth)
    away = np.ones((ROWS, COLUMNS), bool)
    away[2:5, 3:6] = False
    assert camera < 0.01
    assert np.abs(found.log_depth - log_depth)[:, away].max() < 0.02


def test_a_still_camera_keeps_its_prior(world):
    grid, _, K, log_depth = world
    still = np.tile(np.eye(4), (T, 1, 1))
    quiet = replace(grid, flow=np.zeros_like(grid.flow))
    found = adjust(quiet, still, K, log_depth, np.full_like(log_depth, 2.5), FREE)
    assert np.abs(found.log_depth - log_depth).max() < 1e-6
    assert np.abs(found.cam2world - still).max() < 1e-6
    assert found.support.max() < 1e-6


def test_many_observations_are_thinned(world):
    grid = world[0]
    many = replace(
        grid,
        pairs=np.tile(grid.pairs, (40, 1)),
        flow=np.tile(grid.flow, (40, 1, 4, 4, 1)),
        weight=np.tile(grid.weight, (40, 1, 4, 4)),
        pixels=np.tile(grid.pixels, (4, 4, 1)),
    )
    thin = many.thinned()
    assert thin.weight.size <= 150_000 < many.weight.size
    assert thin.pixels.shape[:2] == thin.weight.shape[2:] == thin.flow.shape[2:4]


def test_corrections_are_smooth_and_go_where_the_flows_spoke():
    change, support = np.zeros((2, 6, 8)), np.zeros((2, 6, 8))
    change[0, :, :4], support[0, :, :4] = 0.3, 0.9
    smooth = smooth_correction(change, support)
    assert np.allclose(smooth[0], 0.3, atol=0.02)
    assert not smooth[1].any()


def test_confidence_follows_what_the_flows_gave():
    change = confidence_change(np.array([4.0, 4.0, 4.0]), np.array([8.0, 0.8, 400.0]))
    assert np.exp(change) == pytest.approx([2.0, 1.0, 10.0])


def test_a_correction_lies_on_its_grid():
    factor = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    correction = DepthCorrection(factor, -factor, (4.0, 4.0), 8.0)
    full, confidence = correction.at_size(0, (24, 32))
    assert np.array_equal(confidence, -full)
    assert np.array_equal(full[4::8, 4::8], factor[0])
    assert full[4, 8] == pytest.approx(0.5)
    assert full[0, 0] == 0
    assert full[23, 31] == 11


def bent_run(world):
    """Passes that agree on a bent world, their alignment with cameras to match, and flows that say little."""
    grid, cam2world, K, log_depth = world
    bent = log_depth + 0.3 * np.linspace(-1, 1, COLUMNS)
    passes: Any = SimpleNamespace(  # what is asked of `Passes`
        pairs=grid.pairs,
        status=np.full(len(grid.pairs), "ok"),
        log_depth=bent[grid.pairs].astype(np.float32),
        confidence=np.full((len(grid.pairs), 2, ROWS, COLUMNS), 1.0, np.float32),
    )
    weak = replace(grid, weight=np.full_like(grid.weight, 1e-4))
    free = np.full_like(log_depth, 1.0)
    wrong = adjust(weak, cam2world, K, bent, 1e3 * free, FREE).cam2world
    count = len(grid.pairs)
    found = Alignment(
        Cameras(wrong, K, np.ones(T, bool)),
        np.zeros(count),
        np.zeros((count, 2)),
        np.ones(count, bool),
        np.zeros(T, np.int64),
        FocalEstimate(80.0, 0.0, "given"),
        (),
    )
    return passes, weak, found


def test_a_prior_unbends_what_weak_flows_leave_bent(world):
    _, cam2world, _, log_depth = world
    passes, flows, found = bent_run(world)

    def refined(told):
        better = refine_on_flows(passes, flows, found, focal_sigma_log=0.0, told=told)
        assert better is not None
        centres = better.cameras.cam2world[:, :3, 3]
        scale = (centres * cam2world[:, :3, 3]).sum() / (centres**2).sum()
        return better, np.abs(scale * centres - cam2world[:, :3, 3]).max()

    alone, before = refined(None)
    _, after = refined(ToldDepth(log_depth, np.full_like(log_depth, 0.1)))
    silent, same = refined(ToldDepth(0 * log_depth, np.full_like(log_depth, np.inf)))
    assert after < 0.3 * before
    assert same == pytest.approx(before, rel=1e-6)
    np.testing.assert_allclose(silent.correction.log_confidence, alone.correction.log_confidence)


def test_a_prior_that_contradicts_flows_and_passes_hardly_pulls(world):
    grid, cam2world, K, log_depth = world
    passes, _, found = bent_run(world)
    passes.log_depth[:] = log_depth[grid.pairs]
    passes.confidence[:] = 20
    found = replace(found, cameras=Cameras(cam2world, K, np.ones(T, bool)))
    wrong = ToldDepth(-log_depth, np.full_like(log_depth, 0.1))
    pulled = refine_on_flows(passes, grid, found, focal_sigma_log=0.0, told=wrong)
    assert pulled is not None
    assert np.abs(pulled.cameras.cam2world - cam2world).max() < 0.01  # of a path of 0.4

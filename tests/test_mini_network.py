"""The mini network: its camera arithmetic by laws, its start as the static world, its maps at any size."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_pairs import toy_pairs

from dpm_cli.network.mini import PRESETS, MiniConfig, MiniNetwork, compose, without_offset
from dpm_cli.network.mini.upsample import upsample
from dpm_cli.network.mini.warp import (
    half_diagonal,
    lift,
    normalised_grid,
    rigid_residual,
    warp,
)
from dpm_cli.weights.mini_file import load_mini


@pytest.fixture
def network() -> MiniNetwork:
    torch.manual_seed(0)
    return MiniNetwork(PRESETS["tiny"]).eval()


def shaken(network: MiniNetwork) -> MiniNetwork:
    """The same with heads that say something."""
    with torch.no_grad():
        for layer in (network.camera, network.head, network.coarse, network.quarter):
            layer.weight.normal_(std=0.05)
    return network


def test_warp_reads_the_other_image_where_the_flow_points():
    image = torch.rand(1, 3, 32, 48)
    target = normalised_grid(32, 48, like=image) + torch.tensor((3.0, -2.0)) / half_diagonal(32, 48)
    warped = warp(image, target[None])
    assert torch.allclose(warped[..., 2:, :-3], image[..., :-2, 3:], atol=1e-4)


def test_the_true_camera_leaves_no_residual_on_static_points_and_explains_movers():
    truth = toy_pairs(3, (32, 48), torch.Generator().manual_seed(1))
    unit = half_diagonal(32, 48)
    focal = truth.intrinsics[:, 0, 0, 0] / unit
    grid = normalised_grid(32, 48, like=truth.images)
    target = grid + truth.flow / unit
    seen = torch.stack((target[:, 0], grid.expand_as(target[:, 1])), 1)
    R, t = truth.cam2_from_cam1[:, :3, :3], truth.cam2_from_cam1[:, :3, 3]
    skew = torch.stack(
        (R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]), 1
    )
    angle = (skew.norm(dim=1) / 2).asin()
    pose = torch.cat((skew / 2 * (angle / angle.sin())[:, None], t), 1)
    residual, shift = rigid_residual(truth.points[:, :, 0], pose, focal, seen)
    assert residual[~truth.moving].abs().max() < 1e-4
    assert residual[truth.moving].abs().max() > 1e-2
    moved = truth.points[:, :, 0] + shift
    again, _ = rigid_residual(moved, pose, focal, seen)
    assert again.abs().max() < 1e-4


@pytest.mark.parametrize("size", [(32, 48), (64, 32), (48, 48)])
def test_any_size_that_is_a_multiple(network, size):
    out = shaken(network)(torch.rand(2, 2, 3, *size), torch.randn(2, 2, *size, 2))
    assert out.points.shape == (2, 2, 2, *size, 3)
    assert out.log_confidence.shape == (2, 2, 2, *size)
    assert out.motion_logit.shape == out.valid_logit.shape == (2, 2, *size)
    assert all(v.isfinite().all() for v in vars(out).values())


def test_training_starts_at_the_static_world(network):
    flow = torch.randn(2, 2, 32, 48, 2)
    out = network(torch.rand(2, 2, 3, 32, 48), flow)
    assert torch.equal(out.points[:, :, 0], out.points[:, :, 1])
    assert (out.pose_guess == 0).all()
    assert torch.equal(out.flow, flow)
    grid = normalised_grid(32, 48, like=flow)
    rays = torch.stack((grid.expand(2, -1, -1, -1),) * 2, 1)
    assert torch.allclose(out.points[:, 0, 0], lift(out.log_depth.exp(), rays, out.focal)[:, 0])


def test_a_batch_equals_its_singles():
    """Of the shipped weights: what heads by chance say cannot be solved, and rounding decides between equal starts."""
    network = load_mini().network
    truth = toy_pairs(3, (64, 96), torch.Generator().manual_seed(1))
    images, flow = truth.images, truth.flow
    with torch.inference_mode():
        together = network(images, flow).points
        alone = torch.cat([network(images[i : i + 1], flow[i : i + 1]).points for i in range(3)])
    assert torch.allclose(together, alone, atol=2e-4)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_a_given_focal_length_is_used(network):
    shaken(network)
    images, flow = torch.rand(2, 2, 3, 32, 48), torch.zeros(2, 2, 32, 48, 2)
    points = network(images, flow, torch.tensor((60.0, 0.0))).points[:, 0, 0]
    slope = points[..., 0] / points[..., 2]
    step = (slope[:, 0, -1] - slope[:, 0, 0]) / 47
    assert step[0].item() == pytest.approx(1 / 60, rel=1e-4)
    assert step[1].item() != pytest.approx(1 / 60, rel=1e-2)


def test_compose_repeats_the_forward_pass_and_honours_the_principal_point(network):
    shaken(network)
    flow = torch.randn(1, 2, 32, 48, 2)
    out = network(torch.rand(1, 2, 3, 32, 48), flow)
    points, displacement = compose(without_offset(out.maps), out.flow, out.pose, out.focal)
    assert torch.equal(points, out.points)
    assert torch.equal(displacement, out.displacement)
    points, _ = compose(without_offset(out.maps), out.flow, out.pose, out.focal, (10.0, 7.0))
    assert points[0, 0, 0, 7, 10, :2].abs().max() < 1e-6


def test_config_round_trip_and_unknown_keys():
    assert MiniConfig.from_json(PRESETS["mini-gpu"].to_json()) == PRESETS["mini-gpu"]
    with pytest.raises(ValueError, match="unknown"):
        MiniConfig.from_json('{"width": 3}')


def test_presets_fit_the_wheel():
    sizes = {k: sum(p.numel() for p in MiniNetwork(c).parameters()) for k, c in PRESETS.items()}
    assert max(sizes.values()) <= 16e6
    assert sizes["mini"] < 12e6


def test_upsampling_keeps_constants_and_follows_the_images_edges():
    guide = torch.zeros(1, 3, 48, 64)
    guide[..., 27:] = 1.0
    small = torch.full((1, 2, 12, 16), 3.0)
    assert torch.allclose(upsample(small, guide), torch.full((1, 2, 48, 64), 3.0))
    small[..., 7:] = 5.0  # the edge lies at 28 in the small map, at 27 in the image
    full = upsample(small, guide)
    assert (full[..., 20:26] < 3.2).all()
    assert (full[..., 28:34] > 4.8).all()
    assert math.isclose(full[..., :10].mean(), 3.0, rel_tol=1e-3)


def test_the_shipped_weights_say_what_they_said_when_they_were_trained():
    """Stored when training ended: the geometry inside the network may be rewritten, but must not change.

    Compared as a whole: single pixels differ by some 1e-4 of the mean between processors.
    """
    stored = np.load(Path(__file__).parent / "data" / "mini_reference.npz")
    truth = toy_pairs(3, (64, 96), torch.Generator().manual_seed(9))
    known = torch.tensor((0.0, 60.0, 0.0))
    with torch.inference_mode():
        out = load_mini(None).network.eval()(truth.images, truth.flow, known)
    for name in stored.files:
        found = getattr(out, name)
        found = found[..., ::8, ::8, :] if name in ("points", "displacement") else found
        error = (found - torch.from_numpy(stored[name])).norm() / found.norm()
        assert error < 5e-5, f"{name}: {error:.1e}"


@pytest.mark.parametrize("size", [(36, 48), (31, 50), (13, 20), (9, 11)])
def test_upsampling_is_the_weighted_mean_of_the_nine_cells_around(size):
    generator = torch.Generator().manual_seed(0)
    maps, guide = (torch.rand(2, 3, *s, generator=generator) for s in ((12, 16), size))
    small = torch.nn.functional.interpolate(guide, (12, 16), mode="bilinear", antialias=True)
    found = upsample(maps, guide)
    for y, x in ((0, 0), (size[0] // 2, size[1] // 3), (size[0] - 1, size[1] - 1), (5, 7)):
        at_y, at_x = (y + 0.5) * 12 / size[0] - 0.5, (x + 0.5) * 16 / size[1] - 0.5
        total, norm = torch.zeros(2, 3), torch.zeros(2, 1)
        for row in range(round(at_y) - 1, round(at_y) + 2):
            for column in range(round(at_x) - 1, round(at_x) + 2):
                cell = (slice(None), slice(None), min(max(row, 0), 11), min(max(column, 0), 15))
                apart = (small[cell] - guide[:, :, y, x]).square().sum(1, keepdim=True)
                near = math.exp(-((at_y - row) ** 2 + (at_x - column) ** 2) / (2 * 0.7**2))
                weight = near * ((-apart / (2 * 0.08**2)).exp() + 1e-3)
                total, norm = total + weight * maps[cell], norm + weight
        torch.testing.assert_close(found[:, :, y, x], total / norm, atol=1e-4, rtol=1e-4)

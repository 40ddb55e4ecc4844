"""What the mini network solves inside: pose from points and flow, depth by parallax, matching by features."""

import torch
from toy_pairs import toy_pairs

from dpm_cli.geometry.rigid import so3_angle, so3_exp, so3_log
from dpm_cli.network.mini.correlation import REACH, Correlation, _window
from dpm_cli.network.mini.solve import EVIDENCE_CHANNELS, fuse, solve
from dpm_cli.network.mini.warp import half_diagonal, match_ends, normalised_grid
from dpm_cli.structures import PairTruth
from dpm_cli.twoview.resection import _cost, refine_pose

SIZE = (64, 96)
PIXEL = 1 / half_diagonal(*SIZE)


def exact_pairs(batch: int = 4):
    """Exact pairs, their matches in normalised coordinates, focal length and pose."""
    truth = toy_pairs(batch, SIZE, torch.Generator().manual_seed(5))
    target = normalised_grid(*SIZE, like=truth.images) + truth.flow * PIXEL
    T = truth.cam2_from_cam1
    pose = torch.cat((so3_log(T[:, :3, :3]), T[:, :3, 3]), 1)
    return truth, target, truth.intrinsics[:, 0, 0, 0] * PIXEL, pose


def turn_error(pose: torch.Tensor, truth) -> torch.Tensor:
    R = truth.cam2_from_cam1[:, :3, :3]
    return so3_angle(so3_exp(pose[:, :3]) @ R.transpose(1, 2)).rad2deg()


def fit(
    guess: torch.Tensor, noise_px: float = 0.0, gross: float = 0.0
) -> tuple[torch.Tensor, PairTruth]:
    """Pose fitted to the static points, their places in image 2 disturbed, a share of them grossly."""
    truth, target, focal, _ = exact_pairs()
    _, second = match_ends(target)
    generator = torch.Generator().manual_seed(0)
    second = second + torch.randn(second.shape, generator=generator) * noise_px * PIXEL
    wrong = torch.rand(second.shape[:-1], generator=generator) < gross
    second = second + wrong[..., None] * torch.tensor((9.0, -6.0)) * PIXEL
    static = (~truth.moving).float()
    return refine_pose(guess, truth.points[:, :, 0], second, static, focal, PIXEL), truth


def test_the_pose_is_exact_on_exact_points():
    near = exact_pairs()[3][:, None] + 0.02 * torch.tensor((1.0, -1.0, 0.5, -2.0, 1.0, 1.0))
    pose, truth = fit(near)
    assert turn_error(pose, truth).max() < 0.02
    assert (pose[:, 3:] - truth.cam2_from_cam1[:, :3, 3]).norm(dim=1).max() < 2e-3


def test_the_better_of_several_guesses_wins_and_noise_and_gross_errors_cost_little():
    near = exact_pairs()[3][:, None] + 0.01
    wild = torch.tensor((0.6, -0.8, 0.3, 2.0, 2.0, -2.0)).expand(4, 1, 6)
    pose, truth = fit(torch.cat((wild, near), 1), noise_px=0.5, gross=0.1)
    assert turn_error(pose, truth).max() < 0.2


def test_points_without_weight_leave_the_guess():
    truth, target, focal, _ = exact_pairs()
    guess = torch.full((4, 1, 6), 0.01)
    nothing = torch.zeros(truth.moving.shape)
    second = match_ends(target)[1]
    kept = refine_pose(guess, truth.points[:, :, 0], second, nothing, focal, PIXEL)
    assert torch.allclose(kept, guess[:, 0], atol=1e-6)


def test_a_fit_that_gets_worse_is_thrown_away():
    truth, target, focal, pose = exact_pairs()
    generator = torch.Generator().manual_seed(3)
    seen = match_ends(target)[1]
    weight = torch.zeros(truth.moving.shape)
    weight[:, :, ::16, ::16] = 1e-3
    wild = pose[:, None] + torch.randn(4, 1, 6, generator=generator)
    kept = refine_pose(wild, truth.points[:, :, 0], seen, weight, focal, PIXEL)
    before, after = (cost_of(p, truth, seen, weight, focal) for p in (wild[:, 0], kept))
    assert (after <= before + 1e-6).all()


def cost_of(pose, truth, seen, weight, focal):
    parts = (truth.points[:, :, 0].flatten(1, 3), seen.flatten(1, 3), weight.flatten(1))
    return _cost(so3_exp(pose[:, :3]), pose[:, 3:], *parts, focal, PIXEL)


def told(truth, log_depth: torch.Tensor, gate: float, flow_error_px: float = 0.1) -> torch.Tensor:
    """The network's answers (B, 2, 6, H, W) that say this depth and the true movers."""
    found = torch.zeros(len(log_depth), 2, 6, *SIZE)
    found[:, :, 0] = log_depth
    found[:, :, 3] = torch.tensor(flow_error_px).log()
    found[:, :, 4] = torch.where(truth.moving, 8.0, -8.0)
    found[:, :, 5] = gate
    return found


def test_parallax_gives_the_static_depth_that_the_network_did_not_know():
    truth, target, focal, pose = exact_pairs()
    own = torch.full(truth.moving.shape, 1.0)  # a flat guess
    hint = torch.cat((pose, torch.zeros(4, 2)), 1)
    scene = solve(
        told(truth, own, 6.0), target, torch.zeros(4, 6), hint, focal, PIXEL, torch.full((4,), 0.3)
    )
    assert scene.evidence.shape == (4, 2, EVIDENCE_CHANNELS, *SIZE)
    fused = fuse(own, torch.full_like(own, 6.0), target, scene, focal, PIXEL)
    true = truth.points[:, :, 0, ..., 2].log()
    static = ~truth.moving
    for b in range(4):
        error = (fused - true)[b][static[b]]
        before = (own - true)[b][static[b]]
        spread = lambda e: (e - e.median()).abs().mean()
        assert spread(error) < 0.25 * spread(before)


def test_a_shut_gate_leaves_the_networks_own_depth():
    truth, target, focal, pose = exact_pairs()
    own = torch.rand(truth.moving.shape)
    scene = solve(told(truth, own, -20.0), target, pose, pose, focal, PIXEL, torch.full((4,), 0.3))
    fused = fuse(own, torch.full_like(own, -20.0), target, scene, focal, PIXEL)
    assert torch.allclose(fused, own, atol=1e-6)


def test_a_still_camera_moves_no_depth():
    truth, _, focal, _ = exact_pairs()
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(4, 2, *SIZE, 2, generator=generator) * 0.05 * PIXEL
    target = normalised_grid(*SIZE, like=truth.images) + noise
    own = torch.rand(truth.moving.shape, generator=generator)
    nothing = torch.zeros(4, 8)
    scene = solve(
        told(truth, own, 0.0),
        target,
        torch.zeros(4, 6),
        nothing,
        focal,
        PIXEL,
        torch.full((4,), 0.3),
    )
    fused = fuse(own, torch.zeros_like(own), target, scene, focal, PIXEL)
    assert (fused - own).abs().mean() < 0.2
    assert scene.pose[:, :3].abs().max() < 0.01


def test_the_window_is_centred_on_the_match():
    """One-hot features: only the cell that holds the same feature answers, at the offset it lies from the target."""
    height, width = 8, 12
    key = torch.zeros(1, height // 2 * width // 2, height // 2, width // 2)
    rows, columns = key.shape[2:]
    for cell in range(rows * columns):
        key[0, cell, cell // columns, cell % columns] = 1
    query = torch.zeros(1, key.shape[1], height, width)
    query[0, 2 * columns + 3, 4, 5] = 1  # the pixel (5, 4) looks like cell (3, 2)
    middle = torch.tensor(((columns - 1) / 2, (rows - 1) / 2))
    at = (torch.tensor((2.0, 1.0)) - middle) / half_diagonal(rows, columns)
    found = _window(query, key, at.expand(1, height, width, 2))
    side = 2 * REACH + 1
    expected = torch.zeros(side, side)
    expected[REACH + 1, REACH + 1] = key.shape[1] ** -0.5  # one cell right and down of the target
    assert torch.allclose(found[0, :, 4, 5].unflatten(0, (side, side)), expected, atol=1e-6)
    assert found[0, :, 0, 0].abs().max() == 0


def test_learnt_matching_starts_silent_and_gets_a_gradient():
    torch.manual_seed(0)
    layer = Correlation(16, 8)
    images = torch.rand(4, 3, 32, 48)
    out = layer(images, normalised_grid(8, 12, like=images).expand(4, -1, -1, -1))
    assert out.shape == (4, 8, 8, 12)
    assert (out == 0).all()
    torch.nn.init.normal_(layer.read.weight)
    layer(
        images, normalised_grid(8, 12, like=images).expand(4, -1, -1, -1)
    ).square().sum().backward()
    assert layer.stem.weight.grad is not None
    assert layer.stem.weight.grad.abs().max() > 0

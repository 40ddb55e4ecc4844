import math

import pytest
import torch

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, rays
from dpm_cli.geometry.focal import estimate_focal
from dpm_cli.geometry.pnp import solve_pnp
from dpm_cli.geometry.rigid import invert, se3_exp, se3_log, so3_angle, transform

SIZE, FOCAL = (48, 64), 55.0
PIXELS = pixel_grid(*SIZE, dtype=torch.float64).reshape(-1, 2)
CENTRE = torch.tensor([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2], dtype=torch.float64)
TILES = (PIXELS[:, 1] // 8 * 8 + PIXELS[:, 0] // 8).long()


def scene(batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """K (B, 3, 3) and points (B, N, 3) in the frame of the camera that sees them at PIXELS."""
    generator = torch.Generator().manual_seed(seed)
    K = intrinsics_matrix(torch.full((batch,), FOCAL, dtype=torch.float64), *SIZE)
    depth = 2 + 3 * torch.rand(batch, len(PIXELS), generator=generator, dtype=torch.float64)
    return K, rays(PIXELS.expand(batch, -1, 2), K) * depth[..., None], generator


def poses(batch: int, angle: float, generator: torch.Generator) -> torch.Tensor:
    x = torch.randn(batch, 6, generator=generator, dtype=torch.float64)
    return se3_exp(
        torch.cat((0.5 * x[:, :3], angle * torch.nn.functional.normalize(x[:, 3:], dim=-1)), -1)
    )


def noisy(points: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    size = share * points.norm(dim=-1, keepdim=True)
    return points + size * torch.randn(points.shape, generator=generator, dtype=points.dtype)


@pytest.mark.parametrize("angle", [0.0, 0.2, 1.0, 3.0])
def test_exact_points_give_the_exact_pose_at_any_angle(angle):
    K, own, generator = scene(6)
    T = poses(6, angle, generator)
    fit = solve_pnp(transform(invert(T), own), PIXELS, K)
    assert torch.allclose(fit.cam_from_points, T, atol=1e-9)
    assert torch.allclose(fit.inliers, torch.ones(6, dtype=torch.float64))


def test_a_third_of_gross_outliers_does_not_move_the_pose():
    K, own, generator = scene(6)
    T = poses(6, 0.3, generator)
    points = transform(invert(T), own)
    points[:, ::3] = 3 * torch.randn(points[:, ::3].shape, generator=generator, dtype=torch.float64)
    fit = solve_pnp(points, PIXELS, K)
    assert torch.allclose(fit.cam_from_points, T, atol=1e-6)
    assert float(fit.inliers.max()) < 0.72


def test_moving_by_a_rigid_transform_moves_the_pose():
    K, own, generator = scene(1)
    T, A = poses(1, 0.3, generator), poses(1, 1.0, generator)
    points = noisy(transform(invert(T), own), 0.02, generator)
    first = solve_pnp(points, PIXELS, K).cam_from_points
    second = solve_pnp(transform(A, points), PIXELS, K).cam_from_points
    assert torch.allclose(second, first @ invert(A), atol=1e-6)


def test_noise_moves_the_pose_by_what_the_covariance_says_without_bias():
    K, own, generator = scene(64)
    T = poses(64, 0.1, generator)
    points = noisy(transform(invert(T), own), 0.02, generator)
    fit = solve_pnp(points, PIXELS, K, blocks=TILES)
    error = se3_log(fit.cam_from_points @ invert(T))
    sigma = fit.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert float((error / sigma).square().mean(0).max()) < 2
    assert float((error / sigma).square().mean(0).min()) > 0.5
    # A bias of half of one pair's deviation would stand out by four of the mean's.
    assert float((error / sigma).mean(0).abs().max()) < 0.4


def test_pose_follows_a_changed_focal_length_as_predicted():
    K, own, generator = scene(4)
    points = transform(invert(poses(4, 0.2, generator)), own)
    fit = solve_pnp(points, PIXELS, K)
    changed = solve_pnp(
        points,
        PIXELS,
        intrinsics_matrix(torch.full((4,), 1.005 * FOCAL, dtype=torch.float64), *SIZE),
    )
    predicted = se3_exp(fit.twist_per_log_focal * math.log(1.005)) @ fit.cam_from_points
    left = se3_log(changed.cam_from_points @ invert(predicted)).norm(dim=-1)
    moved = se3_log(changed.cam_from_points @ invert(fit.cam_from_points)).norm(dim=-1)
    assert bool((left < 0.05 * moved).all())


def test_too_few_points_raise():
    K, own, _ = scene(2)
    weights = torch.ones(2, len(PIXELS))
    weights[1, 5:] = 0
    with pytest.raises(DegenerateGeometryError):
        solve_pnp(own, PIXELS, K, weights)


def test_focal_of_exact_points_is_exact_and_a_few_wrong_ones_do_not_matter():
    _, own, generator = scene(3)
    assert torch.allclose(
        estimate_focal(own, PIXELS, CENTRE).focal_px, torch.full((3,), FOCAL).double(), rtol=1e-9
    )
    own[:, ::4] = torch.randn(own[:, ::4].shape, generator=generator, dtype=torch.float64)
    assert torch.allclose(
        estimate_focal(own, PIXELS, CENTRE).focal_px, torch.full((3,), FOCAL).double(), rtol=1e-4
    )


def test_focal_is_not_biased_by_noise_as_the_one_sided_fit_is():
    _, own, generator = scene(40)
    points = noisy(own, 0.04, generator)
    fit = estimate_focal(points, PIXELS, CENTRE, blocks=TILES)
    ray = points[..., :2] / points[..., 2:]
    one_sided = ((PIXELS - CENTRE) * ray).sum((1, 2)) / ray.square().sum((1, 2))
    assert abs(float(fit.focal_px.mean()) / FOCAL - 1) < 1e-3
    assert float(one_sided.mean()) / FOCAL < 0.99
    measured, said = float(fit.focal_px.log().std()), float(fit.sigma_log.mean())
    assert 0.6 < measured / said < 1.6


def test_focal_without_points_in_front_raises():
    _, own, _ = scene(1)
    with pytest.raises(DegenerateGeometryError, match="--fov"):
        estimate_focal(-own, PIXELS, CENTRE)


def test_pose_angle_is_measured_between_the_right_frames():
    K, own, _ = scene(1)
    T = se3_exp(torch.tensor([[0.1, 0, 0, 0, 0.2, 0]], dtype=torch.float64))
    fit = solve_pnp(transform(invert(T), own), PIXELS, K)
    assert float(so3_angle(fit.cam_from_points[0, :3, :3])) == pytest.approx(0.2)

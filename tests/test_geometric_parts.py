"""Laws of the parts of the geometric predictor, on numbers instead of images."""

import dataclasses
import math

import pytest
import torch

from dpm_cli.geometry import camera, rigid
from dpm_cli.matching.dense_match import DenseMatch, box, structure_tensor
from dpm_cli.predictors.geometric import complete, movers
from dpm_cli.predictors.geometric.flow import fill_flow
from dpm_cli.predictors.geometric.scene import PairScene
from dpm_cli.twoview import epipolar, minimise, pose, relief, triangulate
from dpm_cli.twoview import rotation as turning
from dpm_cli.twoview.matches import Matches

FOCAL = torch.tensor([300.0], dtype=torch.float64)


def synthetic_matches(T, *, focal=FOCAL, noise=0.0, mover_share=0.0, count=400, seed=0) -> Matches:
    """Matches of random points seen by two cameras, T = cam2_from_cam1; some points also move by themselves."""
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=rng, dtype=torch.float64)
    parts = []
    for forward in (T, rigid.invert(T)):
        pixels = (draw(count, 2) - 0.5) * torch.tensor([320.0, 200.0])
        depth = 2 + 6 * draw(count)
        points = torch.cat((pixels / focal, torch.ones(count, 1)), 1) * depth[:, None]
        points[: int(mover_share * count)] += torch.tensor([0.1, 0.3, 0.0])
        seen = rigid.transform(forward, points)
        target = focal * seen[:, :2] / seen[:, 2:]
        parts.append((pixels, target + noise * torch.randn(count, 2, generator=rng)))
    source, target = (torch.stack([p[k] for p in parts])[None] for k in (0, 1))
    covariance = torch.tensor([0.01, 0.0, 0.01], dtype=torch.float64).expand(1, 2, count, 3)
    return Matches(source, target, covariance, torch.ones(1, 2, count, dtype=torch.float64))


def camera_2(rotation, translation):
    w = torch.tensor(rotation, dtype=torch.float64)
    return rigid.rigid(rigid.so3_exp(w), torch.tensor(translation, dtype=torch.float64))


def test_true_pose_has_no_epipolar_distance():
    T = camera_2((0.02, -0.05, 0.01), (0.3, 0.1, 0.2))
    t = T[:3, 3] / T[:3, 3].norm()
    d = epipolar.distances(T[None, :3, :3], t[None], synthetic_matches(T), FOCAL)
    assert d.abs().max() < 1e-6
    assert epipolar.facing(T[None, :3, :3], t[None], synthetic_matches(T), FOCAL) > 0.5
    assert epipolar.facing(T[None, :3, :3], -t[None], synthetic_matches(T), FOCAL) < -0.5


def test_distance_is_in_standard_deviations():
    T = camera_2((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    matches = synthetic_matches(T)
    matches.target[..., 1] += 0.7
    d = epipolar.distances(T[None, :3, :3], T[None, :3, 3], matches, FOCAL)
    torch.testing.assert_close(d.abs(), torch.full_like(d, 7.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("translation", [(0.3, 0.0, 0.0), (0.02, -0.2, 0.1), (0.0, 0.05, 0.4)])
def test_pose_with_noise_and_movers(translation):
    T = camera_2((0.02, -0.03, 0.01), translation)
    matches = synthetic_matches(T, noise=0.1, mover_share=0.25, count=1200)
    found = pose.estimate(matches, FOCAL)
    assert found.status == ("ok",)
    angle = rigid.so3_angle(found.rotation[0] @ T[:3, :3].T)
    cosine = found.translation[0] @ T[:3, 3] / T[:3, 3].norm()
    assert math.degrees(angle) < 0.1
    assert math.degrees(math.acos(min(float(cosine), 1.0))) < 2
    assert 0.6 < float(found.noise) < 1.6


def test_turning_and_still_cameras_have_no_translation():
    turn = camera_2((0.01, 0.03, 0.0), (0.0, 0.0, 0.0))
    found = pose.estimate(synthetic_matches(turn, noise=0.1, mover_share=0.15), FOCAL)
    assert found.status == ("rotation",)
    assert math.degrees(rigid.so3_angle(found.rotation[0] @ turn[:3, :3].T)) < 0.05
    assert found.translation.abs().max() == 0
    still = camera_2((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    found = pose.estimate(synthetic_matches(still, noise=0.1, mover_share=0.15), FOCAL)
    assert found.status == ("still",)
    torch.testing.assert_close(found.rotation[0], torch.eye(3, dtype=torch.float64))


def test_smooth_errors_before_a_turning_camera_are_no_parallax(monkeypatch):
    """Errors as large as expected that neighbours share look like the parallax of a step to the right."""
    matches = synthetic_matches(camera_2((0.01, 0.03, 0.0), (0.0, 0.0, 0.0)))
    matches.target[..., 0] += 0.15 * (matches.source[..., 1] / 25).sin()
    assert pose.estimate(matches, FOCAL).status == ("rotation",)
    monkeypatch.setattr(pose, "LEAST_NOISE", 0.01)
    assert pose.estimate(matches, FOCAL).status == ("ok",)


def test_too_few_matches_are_said():
    found = pose.estimate(synthetic_matches(camera_2((0, 0, 0), (0.3, 0, 0)), count=20), FOCAL)
    assert found.status == ("untextured",)


def test_whitening_is_an_inverse_square_root():
    covariance = torch.tensor([2.0, 0.6, 0.5], dtype=torch.float64)
    C = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    error = torch.tensor([0.3, -1.2], dtype=torch.float64)
    white = turning.whiten(error, covariance)
    torch.testing.assert_close(white.square().sum(), error @ torch.linalg.inv(C) @ error)


NOTHING = torch.zeros(2, dtype=torch.float64)


def parallax_of(depth, T, covariance, disturb=NOTHING):
    """Parallax of a depth map (H, W) seen by a camera and by another at T, flow disturbed by (2,) pixels."""
    height, width = depth.shape
    K = camera.intrinsics_matrix(FOCAL[0], height, width)
    seen = rigid.transform_map(T, camera.unproject(depth, K))
    flow = camera.project_map(seen, K) - camera.pixel_grid(height, width, dtype=depth.dtype)
    flow = (flow + disturb)[None]
    R, t, zero = T[None, :3, :3], T[None, :3, 3], torch.zeros(1, dtype=torch.float64)
    cov = covariance.expand(1, height, width, 3)
    return triangulate.triangulate(flow, cov, R, t, FOCAL, K[:2, 2], zero)


ROUND = torch.tensor([0.04, 0.0, 0.04], dtype=torch.float64)


def test_triangulation_inverts_projection():
    depth = 3 + torch.rand(20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    T = camera_2((0.02, -0.05, 0.01), (0.3, 0.1, 0.2))
    parallax = parallax_of(depth, T, ROUND)
    torch.testing.assert_close(parallax.inverse_depth[0], 1 / depth)
    assert parallax.chi2.max() < 1e-12
    assert parallax_of(depth, T, ROUND, -torch.tensor([60.0, 20.0])).inverse_depth.max() < 0


def test_sigma_of_inverse_depth_is_the_spread_under_noise():
    rng = torch.Generator().manual_seed(1)
    depth = torch.full((80, 120), 4.0, dtype=torch.float64)
    T = camera_2((0.0, 0.02, 0.0), (0.4, 0.0, 0.1))
    disturb = 0.2 * torch.randn(80, 120, 2, generator=rng, dtype=torch.float64)
    parallax = parallax_of(depth, T, ROUND, disturb)
    score = (parallax.inverse_depth - 0.25) / parallax.sigma
    assert 0.95 < float(score.std()) < 1.05
    assert 0.95 < float(parallax.chi2.mean()) < 1.05


def test_an_edge_gives_depth_where_the_epipolar_line_crosses_it():
    """Flow unknown along a diagonal edge and disturbed along it: the depth must not care."""
    depth = torch.full((10, 10), 4.0, dtype=torch.float64)
    edge = torch.tensor([25.0, 25.0 - 1e-2, 25.0], dtype=torch.float64)
    T = camera_2((0.0, 0.0, 0.0), (0.4, 0.0, 0.0))
    parallax = parallax_of(depth, T, edge, torch.tensor([3.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(parallax.inverse_depth[0], 1 / depth, rtol=1e-2, atol=0)


def dense_solution(data, weight, right, down):
    """The minimum by a dense linear system, the slow reference."""
    grid = complete.Grid(weight, weight * data, right, down)
    size = data[0].numel()
    basis = torch.eye(size, dtype=data.dtype).view(size, 1, *data.shape[1:])
    A = torch.stack([grid.apply(b).flatten() for b in basis], 1)
    assert torch.allclose(A.diagonal(), grid.diagonal().flatten())
    return torch.linalg.solve(A, grid.product.flatten()).view_as(data)


def test_completion_is_the_minimum():
    rng = torch.Generator().manual_seed(0)
    shape = (1, 24, 33)
    data = torch.rand(shape, generator=rng, dtype=torch.float64)
    weight = 0.2 + torch.rand(shape, generator=rng, dtype=torch.float64)
    image = torch.rand(1, 3, 24, 33, generator=rng, dtype=torch.float64)
    right, down = complete.edge_links(image, 0.5)
    found = complete.complete(data, weight, right, down, rounds=1)
    torch.testing.assert_close(found, dense_solution(data, weight, right, down), rtol=0, atol=1e-3)


def test_completion_fills_from_its_side_of_an_edge_and_forgets_outliers():
    image = torch.zeros(1, 3, 48, 64)
    image[..., 32:] = 1
    data, weight = torch.full((1, 48, 64), 1.0), torch.zeros(1, 48, 64)
    data[..., 32:] = 3.0
    weight[..., ::4, ::4] = 100.0
    weight[..., 16:32, :] = 0
    data[0, 4, 8] = 50.0
    right, down = complete.edge_links(image, 0.05)
    found = complete.complete(data, weight, right, down)
    assert (found[0, 16:32, :30] - 1).abs().max() < 0.1
    assert (found[0, 16:32, 34:] - 3).abs().max() < 0.1
    assert abs(float(found[0, 4, 8]) - 1) < 0.1


def test_coarse_links_of_an_even_sheet_are_even():
    links = torch.full((1, 16, 16), 2.0)
    links[..., -1] = 0
    coarse = complete._coarse_right(links)
    torch.testing.assert_close(coarse[..., :-1], torch.full((1, 8, 7), 2.0))
    assert coarse[..., -1].max() < 1e-6


def test_movers_take_the_depth_of_what_they_stand_on():
    moving = torch.zeros(1, 40, 40, dtype=torch.bool)
    moving[:, 10:25, 15:25] = True
    data = torch.linspace(0.2, 1.0, 40)[None, :, None].expand(1, 40, 40).contiguous()
    weight = 1e4 * (~moving).float()
    ones = torch.ones(1, 40, 40)
    right, down = movers.contact_links(ones, ones, moving)
    found = complete.complete(data, weight, right, down)
    assert (found[moving] - data[0, 25, 0]).abs().max() < 0.06


def test_nearest_on_ray_is_on_the_ray_and_nearest():
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(2, 5, 6, 3, generator=rng) + torch.tensor([0.0, 0.0, 6.0])
    centre = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.2, 0.1]])
    rays = torch.randn(2, 5, 6, 3, generator=rng) * 0.2 + torch.tensor([0.0, 0.0, 1.0])
    found = movers.nearest_on_ray(points, centre, rays)
    offset = found - centre[:, None, None]
    assert torch.linalg.cross(offset, rays).norm(dim=-1).max() < 1e-5
    assert ((points - found) * rays).sum(-1).abs().max() < 1e-4


def test_structure_tensor_of_a_ramp_and_box_means():
    ramp = 3.0 * torch.arange(20.0).expand(1, 20, 20)
    tensor = structure_tensor(ramp)[0, :, 10, 10]
    torch.testing.assert_close(tensor, torch.tensor([9.0, 0.0, 0.0]))
    ones = torch.ones(1, 1, 7, 9)
    torch.testing.assert_close(box(ones, 5), ones)


def test_a_flat_solution_is_unlikely_and_a_deep_one_is_not():
    """The same matches explained with a turn and a step that cancel: nearly one depth (bas-relief)."""
    T = camera_2((0.0, 0.0, 0.0), (0.3, 0.0, 0.0))
    matches = synthetic_matches(T)
    t = T[None, :3, 3] / T[:3, 3].norm()
    deep = relief.surprise(T[None, :3, :3], t, matches, FOCAL)[0, 0]
    turned = rigid.so3_exp(torch.tensor([0.0, -0.2, 0.0], dtype=torch.float64))[None]
    flat = relief.surprise(turned, t, matches, FOCAL)[0, 0]
    assert float(deep.abs()) < 1.5
    assert float(flat) < -2


def test_relief_says_nothing_where_noise_hides_it():
    T = camera_2((0.0, 0.0, 0.0), (0.003, 0.0, 0.0))
    matches = synthetic_matches(T, noise=0.5)
    loose = Matches(matches.source, matches.target, 25 * matches.covariance, matches.weight)
    t = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    unlikely = relief.surprise(torch.eye(3)[None].double(), t, loose, FOCAL)
    assert float(unlikely.abs().max()) < 1.5


def test_ground_below_is_likely_and_ground_above_is_not():
    T = camera_2((0.0, 0.0, 0.0), (0.3, 0.0, 0.0))
    matches = synthetic_matches(T)
    row = matches.source[..., 1]
    rho = 0.25 + 0.0015 * row
    step = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None] * 0.3 * FOCAL * rho
    target = matches.source + torch.stack((step, torch.zeros_like(step)), -1)
    ground = Matches(matches.source, target, matches.covariance, matches.weight)
    mirror = torch.tensor([1.0, -1.0])
    above = dataclasses.replace(
        ground, source=mirror * ground.source, target=mirror * ground.target
    )
    t, eye = T[None, :3, 3] / 0.3, torch.eye(3, dtype=torch.float64)[None]
    assert float(relief.surprise(eye, t, ground, FOCAL)[0, 1].abs()) < 1.5
    assert float(relief.surprise(eye, t, above, FOCAL)[0, 1]) < -4


@pytest.mark.parametrize("seed", [0, 1])
def test_pose_is_not_a_compromise_with_a_large_mover(seed):
    """A third of the matches is 0.8 px off, both ways alike, as behind a slow mover whose flow leaks out."""
    T = camera_2((0.0, 0.004, 0.0), (0.3, 0.0, 0.05))
    matches = synthetic_matches(T, noise=0.1, count=1200, seed=seed)
    matches.target[:, :, :420, 1] += torch.tensor([0.8, -0.8], dtype=torch.float64)[:, None]
    found = pose.estimate(matches, FOCAL)
    assert math.degrees(rigid.so3_angle(found.rotation[0] @ T[:3, :3].T)) < 0.02


def test_inverse_depths_are_those_of_the_scene():
    T = camera_2((0.02, -0.05, 0.01), (0.3, 0.1, 0.2))
    rho, _ = relief.inverse_depths(
        T[None, :3, :3], T[None, :3, 3] / T[:3, 3].norm(), synthetic_matches(T), FOCAL
    )
    baseline = float(T[:3, 3].norm())
    assert float(rho.min()) > 0.99 * baseline / 8.5
    assert float(rho.max()) < 1.01 * baseline / 1.5


def test_narrow_views_with_noise_do_not_come_out_flat():
    """A field of view of 20 degrees and 1 px noise: without the prior the turn is off by a multiple of this."""
    focal = torch.tensor([900.0], dtype=torch.float64)
    worst = []
    for seed in range(4):
        T = camera_2((0.0, 0.0, 0.0), (0.12, 0.0, 0.02))
        matches = synthetic_matches(T, focal=focal, noise=1.0, seed=seed)
        rough = Matches(matches.source, matches.target, 100 * matches.covariance, matches.weight)
        found = pose.estimate(rough, focal)
        worst.append(math.degrees(rigid.so3_angle(found.rotation[0])))
    assert max(worst) < 1.0


def test_prior_moves_a_minimum_as_far_as_the_statistics_say():
    """400 values around 0, of which 100 each share one error, and a prior at 1 +- 1: a fifth of the way."""
    data = torch.randn(1, 400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fit = minimise.minimise(
        lambda s: s["x"][:, None, None] - data,
        lambda s, d: {"x": s["x"] + d[:, 0]},
        {"x": torch.zeros(1, dtype=torch.float64)},
        1,
        torch.ones(1, 400, dtype=torch.float64),
        iterations=40,
        width=100.0,
        prior=lambda s: s["x"][:, None] - 1,
        correlated=100.0,
    )
    assert abs(float(fit.state["x"] - data.mean()) - 0.2) < 0.1


def flow_case(share: float, length: float, sigma: float = 0.1):
    """A sheet at depth 2 before a camera that steps sideways; `share` of its pixels came back."""
    height, width, focal = 20, 40, torch.tensor([50.0])
    rays = triangulate.centred_rays(height, width, focal, torch.zeros(2))
    own = 2 * rays.expand(2, -1, -1, -1)
    other = rigid.rigid(torch.eye(3).expand(2, 3, 3), torch.tensor([[length, 0, 0]]).expand(2, 3))
    back = torch.zeros(1, 2, height, width, dtype=torch.bool)
    back[..., : round(share * width)] = True
    flow = torch.zeros(1, 2, height, width, 2)
    flow[..., 0] = 2.5
    error = torch.where(back, 0.0, 30.0)
    match = DenseMatch(flow, error, error, torch.zeros(1, 2, height, width, 3), back)
    ones = torch.ones(2, height, width)
    scene = PairScene(ones / 2, sigma * ones, -ones, ones, other[:, :3, :3], other[:, :3, 3])
    return fill_flow(own, other, match, scene, focal.expand(2), torch.zeros(2))[..., 0], back[0]


def test_lost_flow_is_filled_by_a_camera_that_explains_enough():
    flow, back = flow_case(0.5, 0.1)
    assert (flow - 2.5).abs()[back].max() == 0
    inner = ~back & (torch.arange(40) < 37)
    torch.testing.assert_close(flow[inner], torch.full_like(flow[inner], 2.5))


@pytest.mark.parametrize(
    ("share", "length", "sigma"), [(0.1, 0.15, 0.1), (0.5, 1.0, 0.1), (0.5, 0.13, 0.4)]
)
def test_lost_flow_stays_as_measured_where_geometry_deserves_no_trust(share, length, sigma):
    """Too little came back; the camera claims flow far longer than any that did; the depth is not known."""
    flow, _ = flow_case(share, length, sigma)
    inner = torch.arange(40) < 36
    assert (flow[..., inner] == 2.5).all()

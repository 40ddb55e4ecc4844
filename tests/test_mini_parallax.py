"""The parallax hint: exact on exact flow, honest where there is no parallax."""

import torch

from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, project_map, unproject
from dpm_cli.geometry.rigid import invert, rigid, so3_angle, so3_exp, transform_map
from dpm_cli.network.mini.parallax import NOISE_PX, CameraHint, parallax
from dpm_cli.network.mini.warp import half_diagonal

SIZE = (48, 64)
FOCAL_PX = 60.0


def hints(
    noise_px: float = 0.0, mover: bool = False
) -> tuple[torch.Tensor, torch.Tensor, CameraHint]:
    """True pose (B, 4, 4), depth of image 1 (B, H, W), and the hint; blocks at four depths (a plane is ambiguous)."""
    generator = torch.Generator().manual_seed(7)
    batch = 6
    K = intrinsics_matrix(torch.full((batch,), FOCAL_PX), *SIZE)
    turn = torch.randn(batch, 3, generator=generator) * 0.03
    shift = torch.nn.functional.normalize(torch.randn(batch, 3, generator=generator), dim=1) * 0.2
    T21 = rigid(so3_exp(turn), shift)
    flows, depths = [], []
    for view in (0, 1):
        steps = torch.rand(batch, 1, 6, 8, generator=generator) * 4 + 2
        z = torch.nn.functional.interpolate(steps, SIZE, mode="nearest")[:, 0]
        other = transform_map(invert(T21) if view else T21, unproject(z, K))
        flows.append(project_map(other, K) - pixel_grid(*SIZE))
        depths.append(z)
    flow = torch.stack(flows, 1)
    if mover:
        flow[:, 0, 8:20, 10:30] += torch.tensor((2.0, -3.0))
    flow = flow + noise_px * torch.randn(flow.shape, generator=generator)
    focal = torch.full((batch,), FOCAL_PX / half_diagonal(*SIZE))
    return (
        T21,
        depths[0],
        parallax(flow, torch.ones(batch, 2, *SIZE), focal, torch.full((batch,), NOISE_PX)),
    )


def test_camera_and_depth_from_exact_flow():
    T21, depth, found = hints()
    R = so3_exp(found.camera[:, :3])
    assert so3_angle(R @ T21[:, :3, :3].transpose(1, 2)).rad2deg().max() < 0.05
    t, g = found.camera[:, 3:6], T21[:, :3, 3]
    cosine = (t * g).sum(1) / t.norm(dim=1) / g.norm(dim=1)
    assert cosine.min() > 0.9999
    product = found.hint[:, 0, 1] * depth
    relative = product / product.flatten(1).median(1).values[:, None, None] - 1
    assert relative.abs().flatten(1).quantile(0.9, dim=1).max() < 0.02
    # The unit is the median depth: |t| / that depth is the length of the translation.
    length = g.norm(dim=1) / depth.flatten(1).median(1).values
    assert torch.allclose(t.norm(dim=1), length, rtol=0.35)


def test_movers_stand_out_in_the_residual_and_do_not_move_the_camera():
    T21, _, found = hints(mover=True)
    error = so3_angle(so3_exp(found.camera[:, :3]) @ T21[:, :3, :3].transpose(1, 2)).rad2deg()
    assert error.max() < 0.5
    off = found.hint[:, 0, 3].exp() - 0.1
    assert off[:, 8:20, 10:30].median() > 10 * off[:, 24:].median()


def test_a_still_camera_says_that_it_knows_nothing():
    flow = 0.05 * torch.randn(2, 2, 48, 64, 2, generator=torch.Generator().manual_seed(1))
    found = parallax(
        flow, torch.ones(2, 2, 48, 64), torch.full((2,), 1.6), torch.full((2,), NOISE_PX)
    )
    assert found.hint.isfinite().all()
    assert found.camera[:, :3].norm(dim=1).max() < 0.01
    assert (
        found.hint[:, :, 2].median() > -1.5
    ).all()  # deviation of inverse depth above a fifth of its median


def test_noise_raises_the_residual():
    _, _, exact = hints()
    _, _, noisy = hints(noise_px=0.5)
    assert (noisy.camera[:, 6] > exact.camera[:, 6]).all()
    assert noisy.hint.isfinite().all()

import math

import pytest
import torch

from dpm_cli.geometry.rigid import (
    adjoint,
    interpolate,
    invert,
    quaternion_from_rotation,
    rotation_from_quaternion,
    se3_exp,
    se3_log,
    so3_angle,
    so3_exp,
    so3_log,
    transform,
)
from dpm_cli.geometry.similarity import (
    apply_to_cameras,
    scale_of,
    similarity,
    split,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def twists(count: int, angle: float) -> torch.Tensor:
    axis = torch.nn.functional.normalize(random(count, 3, seed=1), dim=-1)
    return torch.cat((random(count, 3, seed=2), axis * angle), -1)


@pytest.mark.parametrize(
    "angle", [0.0, 1e-12, 1e-8, 1e-4, 1e-3, 1.0, 3.0, math.pi - 1e-4, math.pi - 1e-9]
)
def test_log_of_exp_is_the_twist_from_zero_to_pi(angle):
    x = twists(50, angle)
    assert torch.allclose(se3_log(se3_exp(x)), x, atol=1e-8)
    assert torch.allclose(
        so3_angle(so3_exp(x[:, 3:])), torch.full((50,), angle, dtype=x.dtype), atol=1e-8
    )


def test_log_at_exactly_pi_gives_that_rotation_again():
    R = so3_exp(torch.eye(3, dtype=torch.float64) * math.pi)
    assert torch.allclose(so3_exp(so3_log(R)), R, atol=1e-9)


def test_exp_of_opposite_twist_is_the_inverse_and_exp_of_halves_composes():
    x = twists(20, 2.0)
    eye = torch.eye(4, dtype=x.dtype).expand(20, 4, 4)
    assert torch.allclose(se3_exp(x) @ se3_exp(-x), eye, atol=1e-12)
    assert torch.allclose(se3_exp(x / 2) @ se3_exp(x / 2), se3_exp(x), atol=1e-12)
    assert torch.allclose(invert(se3_exp(x)), se3_exp(-x), atol=1e-12)


def test_adjoint_moves_a_twist_through_a_transform():
    T, x = se3_exp(twists(20, 1.3)), random(20, 6, seed=3)
    moved = (adjoint(T) @ x[..., None])[..., 0]
    assert torch.allclose(T @ se3_exp(x), se3_exp(moved) @ T, atol=1e-10)


def test_quaternions_are_those_of_the_rotation():
    R = so3_exp(random(200, 3, seed=4) * 2)
    q = quaternion_from_rotation(R)
    assert torch.allclose(q.norm(dim=-1), torch.ones(200, dtype=q.dtype))
    assert torch.allclose(rotation_from_quaternion(q), R, atol=1e-12)
    about_z = so3_exp(torch.tensor([0, 0, 0.2], dtype=torch.float64))
    expected = torch.tensor([0, 0, math.sin(0.1), math.cos(0.1)], dtype=torch.float64)
    assert torch.allclose(quaternion_from_rotation(about_z), expected)


def test_interpolation_meets_its_ends_and_halves_the_twist():
    a, b = se3_exp(twists(5, 0.7)), se3_exp(twists(5, 1.9))
    share = torch.zeros(5, dtype=torch.float64)
    assert torch.allclose(interpolate(a, b, share), a, atol=1e-12)
    assert torch.allclose(interpolate(a, b, share + 1), b, atol=1e-12)
    middle = interpolate(a, b, share + 0.5)
    assert torch.allclose(invert(a) @ middle, invert(middle) @ b, atol=1e-10)


def similarities(*shape: int, seed: int) -> torch.Tensor:
    """Scales from a third to three."""
    scale = random(*shape, seed=seed).clamp(-1, 1).exp()
    return similarity(
        scale, so3_exp(random(*shape, 3, seed=seed + 1)), random(*shape, 3, seed=seed)
    )


def test_parts_of_a_similarity():
    S = similarities(20, seed=5)
    scale, T = split(S)
    assert torch.allclose(scale, scale_of(S))
    assert torch.allclose(similarity(scale, T[:, :3, :3], T[:, :3, 3]), S, atol=1e-9)
    assert torch.allclose(torch.linalg.det(T[:, :3, :3]), torch.ones(20, dtype=S.dtype))


def test_a_similarity_keeps_what_cameras_see_up_to_scale():
    S, cam2world = similarities(1, seed=6)[0], se3_exp(random(4, 6, seed=7))
    points = random(10, 3, seed=8)
    seen = transform(invert(cam2world), points.expand(4, 10, 3))
    seen_after = transform(
        invert(apply_to_cameras(S, cam2world)), transform(S, points).expand(4, 10, 3)
    )
    assert torch.allclose(seen_after, scale_of(S) * seen, atol=1e-9)


def test_gradients_through_exp_and_log():
    x = twists(3, 0.8).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: se3_log(se3_exp(v)), (x,))
    y = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(se3_exp, (y,))

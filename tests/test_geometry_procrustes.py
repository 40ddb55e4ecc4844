import pytest
import torch

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.procrustes import fit_robust, fit_similarity
from dpm_cli.geometry.rigid import invert, se3_exp, so3_angle, transform
from dpm_cli.geometry.robust import weighted_median
from dpm_cli.geometry.similarity import scale_of, similarity


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fit_rigid(source, target, weights=None):
    return fit_similarity(source, target, weights, scale="none")


def test_exact_matches_give_the_exact_transform_batched():
    source, T = random(6, 40, 3), se3_exp(random(6, 6, seed=1))
    S = similarity(random(6, seed=2).exp(), T[:, :3, :3], random(6, 3, seed=3))
    assert torch.allclose(fit_rigid(source, transform(T, source)), T, atol=1e-10)
    for rule in ("symmetric", "least-squares"):
        assert torch.allclose(
            fit_similarity(source, transform(S, source), scale=rule), S, atol=1e-9
        )


def test_planar_points_and_mirrored_targets_still_give_a_rotation():
    source = random(3, 20, 3) * torch.tensor([1, 1, 0.0])
    T = se3_exp(random(3, 6, seed=1))
    assert torch.allclose(fit_rigid(source, transform(T, source)), T, atol=1e-9)
    mirrored = random(1, 20, 3) * torch.tensor([1, 1, -1.0])
    assert float(
        torch.linalg.det(fit_rigid(random(1, 20, 3), mirrored)[0, :3, :3])
    ) == pytest.approx(1)


def test_the_fit_follows_rigid_motions_of_either_side():
    source, target = random(20, 3), random(20, 3, seed=1)
    weights = random(20, seed=2).abs()
    T, A, B = (
        fit_rigid(source, target, weights),
        se3_exp(random(6, seed=3)),
        se3_exp(random(6, seed=4)),
    )
    moved = fit_rigid(transform(A, source), transform(B, target), weights)
    assert torch.allclose(moved, B @ T @ invert(A), atol=1e-9)


def test_integer_weights_repeat_points_and_zero_weights_drop_them():
    source, target = random(5, 3), random(5, 3, seed=1)
    weights = torch.tensor([1, 2, 0, 1, 3], dtype=torch.float64)
    index = torch.tensor([0, 1, 1, 3, 4, 4, 4])
    assert torch.allclose(
        fit_rigid(source, target, weights), fit_rigid(source[index], target[index]), atol=1e-10
    )


def test_symmetric_scale_is_exactly_inverted_by_swapping_and_not_shrunk_by_noise():
    source, noise = random(4000, 3), 0.3 * random(2, 4000, 3, seed=1)
    a, b = source + noise[0], 2 * source + 2 * noise[1]
    there, back = fit_similarity(a, b), fit_similarity(b, a)
    assert torch.allclose(torch.linalg.inv(there), back, atol=1e-9)
    assert float(scale_of(there)) == pytest.approx(2, rel=0.01)
    # The one-sided scale loses the share 1 / (1 + 0.3^2) of itself.
    one_sided = fit_similarity(a, b, scale="least-squares")
    assert float(scale_of(one_sided)) == pytest.approx(2 / 1.09, rel=0.01)


def test_robust_fit_ignores_a_third_of_gross_mismatches():
    source, T = random(300, 3), se3_exp(random(6, seed=1))
    target = transform(T, source)
    target[:100] += 3 + random(100, 3, seed=2)
    fit = fit_robust(source, target)
    error = fit.target_from_source @ invert(T)
    assert float(so3_angle(error[:3, :3])) < 1e-6
    assert float(fit.residual[100:].max()) < 1e-6 < 1 < float(fit.residual[:100].min())


@pytest.mark.parametrize(
    ("source", "weights"),
    [
        (torch.ones(5, 3), None),
        (torch.linspace(0, 1, 5)[:, None] * torch.tensor([1.0, 2, 3]), None),
        (random(2, 3), None),
        (random(6, 3), torch.tensor([1.0, 1, 0, 0, 0, 0])),
        (random(6, 3), torch.zeros(6)),
    ],
    ids=["one point", "a line", "two points", "two weights", "no weight"],
)
def test_degenerate_input_raises(source, weights):
    source = source.double()
    with pytest.raises(DegenerateGeometryError):
        fit_rigid(source, source, None if weights is None else weights.double())


def test_one_degenerate_fit_of_a_batch_raises():
    source = random(3, 6, 3)
    source[1] = source[1, :1]
    with pytest.raises(DegenerateGeometryError):
        fit_rigid(source, source)


def test_gradients_reach_points_and_weights():
    source, target = random(6, 3).requires_grad_(), random(6, 3, seed=1).requires_grad_()
    weights = (random(6, seed=2).abs() + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(fit_similarity, (source, target, weights))


def test_weighted_median_by_hand():
    values = torch.tensor([[3.0, 1, 2, 9], [1, 2, 3, 4], [5, 6, 7, 8]])
    weights = torch.tensor([[1.0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert weighted_median(values, weights).tolist() == [2.0, 2.5, 0.0]
    assert float(weighted_median(torch.tensor([1.0, 10]), torch.tensor([1.0, 3]))) == 10

"""Training losses: zero where they should be, blind to scale, fair to every pair, silent where there is no truth."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_pairs import toy_pairs

from dpm_cli.geometry.rigid import so3_log
from dpm_cli.network.mini import MiniOutput
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.losses import (
    LossWeights,
    confidence_regression,
    masked_mean,
    median_norm,
    total_loss,
)
from dpm_cli.workshop.metrics.pointmaps import four_map_epe


@pytest.fixture
def truth() -> PairTruth:
    return toy_pairs(2, (32, 48), torch.Generator().manual_seed(3))


def perfect(truth: PairTruth, scale: float = 1.0) -> MiniOutput:
    """An output that says the truth."""
    points = truth.points / median_norm(truth.points, truth.valid)[:, None, None, None, None, None]
    norm = median_norm(truth.points, truth.valid)
    R, t = truth.cam2_from_cam1[:, :3, :3], truth.cam2_from_cam1[:, :3, 3]
    sign = torch.where(truth.moving, 20.0, -20.0)
    return MiniOutput(
        points=points * scale,
        log_confidence=torch.zeros(truth.valid.shape),
        log_depth=points[:, :, 0, ..., 2].log(),
        displacement=(points[:, :, 1] - points[:, :, 0]) * scale,
        motion_logit=sign,
        valid_logit=torch.full(truth.moving.shape, 20.0),
        log_focal=(truth.intrinsics[:, 0, 0, 0] / ((32**2 + 48**2) ** 0.5 / 2)).log(),
        pose_guess=torch.cat((so3_log(R), t / norm[:, None] * scale), 1),
        pose=torch.zeros(len(norm), 6),
        flow=truth.flow,
        log_flow_error=torch.full((len(norm), 2, 8, 12), 0.05).log(),
        coarse_log_depth=points[:, :, 0, 4::8, 4::8, 2].log(),
        maps=torch.zeros(len(norm), 2, 11, 32, 48),
        focal=torch.ones(len(norm)),
    )


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_the_truth_has_no_loss_at_any_scale_of_the_points(truth, scale):
    _, terms = total_loss(perfect(truth, scale), truth, LossWeights())
    assert terms.pop("points") < 0  # only -alpha log C is left
    assert terms.pop("flow") == pytest.approx(0.1**0.5)  # the root's floor of a tenth of a pixel
    assert terms.pop("match") == pytest.approx(1 + math.log(0.05))
    for name, value in terms.items():
        assert value.abs() < 2e-3, name


def test_every_term_sees_its_own_error(truth):
    good = perfect(truth)
    shift = torch.zeros_like(good.points)
    shift[:, 0, 1, ..., 0] = 0.3
    wrong = {
        "points": replace(good, points=good.points + shift),
        "depth": replace(good, log_depth=good.log_depth + 0.2),
        "gradient": replace(good, log_depth=good.log_depth + 0.1 * torch.rand(2, 2, 32, 48)),
        "coarse": replace(good, coarse_log_depth=good.coarse_log_depth + 0.2),
        "movers": replace(good, displacement=good.displacement * truth.moving[..., None] * 0.0),
        "static": replace(good, displacement=good.displacement + 0.1),
        "motion": replace(good, motion_logit=-good.motion_logit),
        "sky": replace(good, valid_logit=-good.valid_logit),
        "focal": replace(good, log_focal=good.log_focal + 0.2),
        "pose": replace(good, pose_guess=good.pose_guess + 0.1),
        "flow": replace(good, flow=good.flow + 1.0),
        "epe": replace(good, points=good.points + shift),
        "match": replace(good, log_flow_error=good.log_flow_error + 1.0),
    }
    _, right = total_loss(good, truth, LossWeights())
    for name, output in wrong.items():
        _, terms = total_loss(output, truth, LossWeights())
        assert terms[name] > right[name] + 0.02, name


def test_the_epe_term_is_the_score(truth):
    good = perfect(truth)
    noisy = good.points + 0.2 * torch.randn(good.points.shape, generator=torch.manual_seed(0))
    valid = truth.valid.clone()
    valid[:, 0, :, :9] = False
    part = replace(truth, valid=valid)
    _, terms = total_loss(replace(good, points=noisy), part, LossWeights())
    error, weight = np.zeros(len(valid)), valid.sum((3, 4)).numpy()
    for b, maps in enumerate(four_map_epe(noisy.numpy(), truth.points.numpy(), valid.numpy())):
        error[b] = (maps * weight[b]).sum() / weight[b].sum()
    assert terms["epe"].item() == pytest.approx(error.mean(), rel=1e-4)


def test_same_time_only_data_says_nothing_of_motion(truth):
    valid = truth.valid.clone()
    valid[:, 0, 1] = valid[:, 1, 0] = False
    partial = replace(truth, valid=valid)
    good = perfect(truth)
    wrong = replace(good, displacement=good.displacement + 1.0, motion_logit=-good.motion_logit)
    _, terms = total_loss(wrong, partial, LossWeights())
    assert terms["movers"] == terms["static"] == terms["motion"] == 0


def test_hidden_pixels_can_be_left_out(truth):
    good = perfect(truth)
    hidden = (~truth.visible)[:, :, None, ..., None].expand_as(good.points)
    assert hidden.any()
    wrong = replace(good, points=good.points + hidden * 1.0)

    def points_term(output: MiniOutput, hidden_weight: float) -> float:
        return float(total_loss(output, truth, LossWeights(hidden=hidden_weight))[1]["points"])

    assert points_term(wrong, 0.0) == pytest.approx(points_term(good, 0.0), abs=0.03)
    assert points_term(wrong, 1.0) > points_term(good, 1.0) + 0.05


def test_the_mean_is_inside_a_pair_first():
    values = torch.tensor([[1.0, 1.0, 1.0, 1.0], [9.0, 5.0, 5.0, 5.0]])
    weight = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    assert masked_mean(values, weight).tolist() == [1.0, 9.0]
    assert masked_mean(values, torch.zeros(2, 4)).tolist() == [0.0, 0.0]


def test_confidence_is_worth_alpha_over_error():
    raw = torch.linspace(-5, 5, 401).requires_grad_()
    for distance in (0.02, 0.05):
        loss = confidence_regression(
            torch.full((401, 1), distance), raw[:, None], torch.ones(401, 1), 0.2
        )
        best = torch.nn.functional.softplus(raw[loss.argmin()]).exp()
        assert best.item() == pytest.approx(0.2 / distance, rel=0.05)


def test_median_norm_skips_what_is_not_valid(truth):
    valid = torch.zeros_like(truth.valid)
    valid[:, 0, 0, :16] = True
    expected = truth.points[:, 0, 0, :16:2, ::2].norm(dim=-1).flatten(1).median(1).values
    assert torch.allclose(median_norm(truth.points, valid), expected)
    assert median_norm(truth.points, torch.zeros_like(valid)).tolist() == [1.0, 1.0]

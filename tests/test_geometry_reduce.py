import numpy as np
import pytest
import torch
from analytic_scene import MOVER, AnalyticClip, analytic_clip

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.geometry.matches import mutual_matches
from dpm_cli.geometry.reduce import PairReduction, object_pose, reduce_pair
from dpm_cli.geometry.rigid import invert, se3_log, so3_angle, transform_map
from dpm_cli.structures import PairPrediction, PairTruth

SCALE = 1.7
"""Of the pass against the scene."""


@pytest.fixture(scope="module")
def clip() -> AnalyticClip:
    return analytic_clip(9, size=(72, 128))


@pytest.fixture(scope="module")
def truth(clip: AnalyticClip) -> PairTruth:
    return clip.pair(1, 7)


def predicted(truth: PairTruth, **kwargs) -> PairPrediction:
    return PairPrediction(
        points=SCALE * truth.points, confidence=torch.full(truth.points.shape[:-1], 50.0), **kwargs
    )


@pytest.fixture(scope="module")
def reduction(truth: PairTruth) -> PairReduction:
    return reduce_pair(predicted(truth))


def test_exact_maps_give_exact_pose_focal_and_depth(clip, truth, reduction):
    T = truth.cam2_from_cam1.double().clone()
    T[:, :3, 3] *= SCALE
    assert float(se3_log(reduction.cam2_from_cam1 @ invert(T)).abs().max()) < 1e-5
    assert torch.allclose(reduction.focal_px, clip.K[0, 0].expand(1, 2), rtol=1e-6)
    own2 = transform_map(truth.cam2_from_cam1, truth.points[:, 1, 1])[..., 2]
    expected = SCALE * torch.stack((truth.points[:, 0, 0, ..., 2], own2), 1)
    assert torch.allclose(reduction.depth, expected, rtol=1e-4)
    assert bool(reduction.valid.all())
    assert float(reduction.pose_inliers) == pytest.approx(1)


def test_flows_are_those_of_the_scene(truth, reduction):
    assert torch.allclose(reduction.flow, truth.flow, atol=1e-2)
    assert torch.allclose(
        reduction.scene_flow[:, 0],
        SCALE * (truth.points[:, 0, 1] - truth.points[:, 0, 0]),
        atol=1e-5,
    )
    assert torch.allclose(
        reduction.scene_flow[:, 1],
        SCALE * (truth.points[:, 1, 0] - truth.points[:, 1, 1]),
        atol=1e-5,
    )


def test_points_that_get_hidden_are_told_from_those_that_stay(truth, reduction):
    hidden = ~truth.visible
    found = (~reduction.flow_visible & hidden).sum() / hidden.sum()
    # What is missed lies within a pixel of a silhouette, where the surface behind still touches.
    assert float(found) > 0.75
    assert float((~reduction.flow_visible & truth.visible).float().mean()) < 0.005


def test_only_the_mover_moves(truth, reduction):
    mask = reduction.motion > 0.5
    assert float((mask & truth.moving).sum() / (mask | truth.moving).sum()) > 0.95


def test_motion_mask_survives_a_slightly_wrong_camera(truth):
    prediction = predicted(truth)
    turned = prediction.points.clone()
    # A wrong camera at the other time moves every static point by 2 % of its distance, smoothly.
    turned[:, 0, 1] += 0.02 * turned[:, 0, 1].norm(dim=-1, keepdim=True) * torch.tensor([1.0, 0, 0])
    motion = reduce_pair(PairPrediction(turned, prediction.confidence)).motion[0, 0]
    assert float((motion > 0.5)[~truth.moving[0, 0]].float().mean()) < 0.01
    assert float((motion > 0.5)[truth.moving[0, 0]].float().mean()) > 0.5


def test_the_predictors_own_flow_and_motion_win(truth):
    own = truth.flow + 2
    logit = torch.where(truth.moving, 3.0, -3.0)
    reduction = reduce_pair(predicted(truth, flow=own, motion_logit=logit))
    assert torch.equal(reduction.flow, own)
    assert torch.equal(reduction.motion > 0.5, truth.moving)


def test_given_intrinsics_are_kept_and_sky_is_not_valid(clip, truth):
    sky = torch.ones_like(truth.flow[..., 0])
    sky[..., :20, :] = -1
    points = torch.where(sky[:, :, None, ..., None] < 0, 1000.0, predicted(truth).points)
    prediction = PairPrediction(points, predicted(truth).confidence, valid_logit=sky)
    reduction = reduce_pair(prediction, clip.K, clip.K)
    assert torch.equal(reduction.focal_px, clip.K[0, 0].expand(1, 2))
    assert float(reduction.focal_sigma_log) == 0
    assert not bool(reduction.valid[..., :20, :].any())
    T = truth.cam2_from_cam1.double().clone()
    T[:, :3, 3] *= SCALE
    assert float(se3_log(reduction.cam2_from_cam1 @ invert(T)).abs().max()) < 1e-5


def test_a_batch_equals_its_pairs_and_an_empty_pair_spoils_nobody(clip, truth):
    good, other = predicted(truth), predicted(clip.pair(0, 3))
    empty = PairPrediction(torch.full_like(good.points, torch.nan), good.confidence)
    batch = PairPrediction(
        torch.cat((good.points, empty.points, other.points)),
        good.confidence.expand(3, -1, -1, -1, -1),
    )
    together = reduce_pair(batch)
    assert together.status == ("ok", "empty", "ok")
    assert float(together.pose_inliers[1]) == 0
    for row, alone in ((0, reduce_pair(good)), (2, reduce_pair(other))):
        assert torch.allclose(together.cam2_from_cam1[row], alone.cam2_from_cam1[0], atol=1e-9)
        assert torch.allclose(together.depth[row], alone.depth[0])
    for name in (
        "depth",
        "flow",
        "scene_flow",
        "motion",
        "confidence",
        "cam2_from_cam1",
        "pose_covariance",
    ):
        assert bool(getattr(together, name).isfinite().all()), name


def test_a_frame_with_itself_is_the_identity_without_motion(clip):
    reduction = reduce_pair(predicted(clip.pair(2, 2)))
    assert torch.allclose(reduction.cam2_from_cam1[0], torch.eye(4, dtype=torch.float64), atol=1e-6)
    assert float(reduction.motion.max()) < 0.01


def test_matches_are_where_the_flow_says_also_on_the_mover(clip, truth, reduction):
    matches = mutual_matches(
        truth.points[0, 0, 1],
        truth.points[0, 1, 1],
        reduction.confidence[0, 0],
        reduction.confidence[0, 1],
        reduction.valid[0, 0],
        reduction.valid[0, 1],
        stride=2,
    )
    x, y = matches.pixels_1.astype(int).T
    landing = matches.pixels_1 + truth.flow[0, 0, y, x].numpy()
    error = np.linalg.norm(landing - matches.pixels_2, axis=1)
    assert len(error) > 0.5 * 36 * 64
    assert np.median(error) < 0.75
    assert np.mean(error < 2) > 0.98
    on_mover = truth.moving[0, 0, y, x].numpy()
    assert on_mover.sum() > 50
    assert np.mean(error[on_mover] < 2) > 0.9


def test_no_valid_points_no_matches(truth, reduction):
    nowhere = torch.zeros_like(reduction.valid[0, 0])
    first, second = truth.points[0, :, 0]
    one = torch.ones_like(first[..., 0])
    found = mutual_matches(first, second, one, one, nowhere, nowhere)
    assert len(found.distance) == 0


def test_object_pose_is_the_movers_motion(clip, truth):
    _, number = clip.hit(1)
    points = truth.points[0, 0].double()
    fit = object_pose(points[0], points[1], number == MOVER, torch.ones(72, 128))
    world = clip.object_pose[7, MOVER] @ invert(clip.object_pose[1, MOVER])
    expected = invert(clip.cam2world[1]) @ world @ clip.cam2world[1]
    error = fit.target_from_source @ invert(expected)
    assert float(so3_angle(error[:3, :3])) < 1e-4
    with pytest.raises(DegenerateGeometryError):
        object_pose(
            points[0], points[1], torch.zeros(72, 128, dtype=torch.bool), torch.ones(72, 128)
        )


def test_flow_projects_points_by_the_law(clip, truth, reduction):
    """project(points + scene flow, camera 2) = pixel + flow, from the stored arrays alone."""
    points = predicted(truth).points[:, 0, 0] + reduction.scene_flow[:, 0]
    there = transform_map(reduction.cam2_from_cam1.float(), points)
    K = clip.K.float()
    pixels = there[..., :2] / there[..., 2:] * K[0, 0] + K[:2, 2]
    assert torch.allclose(pixels, pixel_grid(72, 128) + reduction.flow[:, 0], atol=1e-2)

"""Truth against itself is perfect in every pair metric; known changes give known numbers."""

import dataclasses

import numpy as np
import pytest
import torch

from dpm_cli.structures import PairPrediction
from dpm_cli.workshop.datasets.synth import truth_of_clip
from dpm_cli.workshop.datasets.truth import SceneFlowTruth
from dpm_cli.workshop.evaluate.cases import maps_of_scene_flow, pair_cases
from dpm_cli.workshop.evaluate.pair_runs import RunOptions, score_pairs
from dpm_cli.workshop.evaluate.pair_scores import reduce_at, resize_prediction, score_pair
from dpm_cli.workshop.metrics.pointmaps import mean_norm
from dpm_cli.workshop.synthetic import render_clip, scene_seed


@pytest.fixture(scope="module")
def case():
    """A test scene with movers and a moving camera."""
    clip = render_clip(scene_seed("test", 5), 3, (72, 96), camera="orbit")
    (found,) = pair_cases(truth_of_clip(clip, "scene"), strides=(2,), most=1)
    assert found.maps is not None
    assert found.maps.moving.any()
    return found


def exact(case, **changes) -> PairPrediction:
    maps = case.maps
    points = torch.where(maps.valid[..., None], maps.points, torch.ones_like(maps.points))
    own = torch.stack((maps.valid[:, 0, 0], maps.valid[:, 1, 1]), 1)
    said = PairPrediction(
        points=points,
        confidence=torch.full(points.shape[:-1], 1e4),
        flow=maps.flow,
        motion_logit=torch.where(maps.moving, 8.0, -8.0),
        valid_logit=torch.where(own, 8.0, -8.0),
    )
    return dataclasses.replace(said, **changes)


def scores(case, prediction):
    return score_pair(prediction, reduce_at(prediction, case.intrinsics), case)


def test_truth_is_perfect(case):
    values = scores(case, exact(case))
    for name in ("epe", "epe_p11", "epe_p12", "epe_p21", "epe_p22", "lrel", "lrel_ratio"):
        assert values[name] == pytest.approx(0, abs=1e-6), name
    for name in (
        "absrel",
        "absrel_confident",
        "scene_flow_epe",
        "scene_flow_epe_bwd",
        "scene_flow_epe_camera",
    ):
        assert values[name] == pytest.approx(0, abs=1e-5), name
    for name in ("flow_epe", "flow_fl", "motion_false", "object_trans", "scene_flow_movers"):
        assert values[name] == pytest.approx(0, abs=1e-4), name
    for name in ("delta_1_25", "flow_1px", "motion_iou", "motion_f"):
        assert values[name] == 1.0, name
    assert values["rot_deg"] < 0.01
    assert values["trans_dir_deg"] < 0.1
    assert values["focal_error"] < 1e-6
    assert values["match_1px"] > 0.97
    assert values["law_t1"] < 0.02
    assert values["law_t2"] < 0.02


def test_without_intrinsics_the_focal_length_is_found(case):
    said = exact(case)
    values = score_pair(said, reduce_at(said, None), case)
    assert values["focal_error"] < 1e-3
    assert values["rot_deg"] < 0.05


def test_one_scale_changes_nothing(case):
    base, scaled = (
        scores(case, exact(case)),
        scores(case, exact(case, points=exact(case).points * 5)),
    )
    for name in base:
        assert scaled[name] == pytest.approx(base[name], abs=2e-3), name


def test_flow_that_is_off_by_known_pixels(case):
    flow = case.maps.flow.clone()
    flow[..., 0] += 3.0
    flow[..., 1] += 4.0
    values = scores(case, exact(case, flow=flow))
    assert values["flow_epe"] == pytest.approx(5.0, abs=1e-4)
    assert values["flow_epe_visible"] == pytest.approx(5.0, abs=1e-4)
    assert values["flow_1px"] == 0.0


def test_standing_still_costs_movers_their_whole_motion(case):
    points = exact(case).points.clone()
    points[:, 0, 1], points[:, 1, 0] = points[:, 0, 0], points[:, 1, 1]
    values = scores(case, exact(case, points=points))
    assert values["scene_flow_movers"] == pytest.approx(1.0, abs=1e-2)
    assert values["scene_flow_static"] == pytest.approx(0.0, abs=2e-3)
    assert values["epe_p11"] < values["epe_p12"]


def test_one_map_moved_by_a_known_length(case):
    maps = case.maps
    points = exact(case).points.clone()
    unit = float(mean_norm(maps.points.numpy(), maps.valid.numpy())[0])
    points[:, 1, 1, ..., 1] += 0.01 * unit
    values = scores(case, exact(case, points=points))
    assert values["epe_p22"] == pytest.approx(0.01, rel=0.05)
    assert values["epe_p11"] < 0.003


def test_motion_mask_of_everything(case):
    values = scores(case, exact(case, motion_logit=torch.full((1, 2, 72, 96), 9.0)))
    known = case.moving >= 0
    share = (case.moving == 1).sum() / known.sum()
    assert values["motion_false"] > 0.99
    assert values["motion_iou"] == pytest.approx(share, rel=0.02)


def test_depth_that_is_not_given_counts_as_far(case):
    own = torch.stack((case.maps.valid[:, 0, 0], case.maps.valid[:, 1, 1]), 1)
    logit = torch.where(own, 8.0, -8.0)
    logit[:, :, 36:] = -8.0
    values = scores(case, exact(case, valid_logit=logit))
    assert values["depth_cover"] < 0.7
    assert values["absrel"] > 0.05


def test_prediction_is_read_between_its_pixels(case):
    small = resize_prediction(exact(case), (36, 48))
    assert small.points.shape == (1, 2, 2, 36, 48, 3)
    assert small.flow is not None
    wide = resize_prediction(exact(case, flow=torch.full((1, 2, 72, 96, 2), 2.0)), (72, 48))
    assert wide.flow is not None
    assert wide.flow[0, 0, 5, 5].tolist() == pytest.approx([1.0, 2.0])
    ramp = torch.arange(96.0).expand(1, 2, 2, 72, 96)
    stretched = resize_prediction(exact(case, confidence=ramp), (72, 192)).confidence
    # Pixel 10 of 192 has its centre at (10 + .5) / 2 - .5 of 96.
    assert float(stretched[0, 0, 0, 3, 10]) == pytest.approx(4.75)


class Exact:
    """A predictor that knows one case, at whatever size."""

    def __init__(self, case):
        self.case, self.prepared = case, None

    @property
    def info(self):
        from dpm_cli.predictors.protocol import PredictorInfo

        return PredictorInfo("exact", None, "none", 1, 512, True)

    def prepare(self, clip, intrinsics):
        self.prepared = intrinsics

    def encode(self, images):
        return {"images": images}

    def predict(self, features_1, features_2):
        return resize_prediction(exact(self.case), features_1["images"].shape[-2:])


def test_a_run_at_the_truths_own_size(case):
    predictor = Exact(case)
    options = RunOptions(torch.device("cpu"), known_intrinsics=True)
    (score,) = score_pairs(predictor, "exact", [case], options)
    assert (score.model, score.dataset, score.sequence) == ("exact", "synth/stride-2", "scene 0>2")
    assert score.values["epe"] == pytest.approx(0, abs=1e-6)
    assert predictor.prepared == pytest.approx(case.intrinsics)
    assert score.picture is not None
    assert score.picture.shape[2] == 3


def test_known_intrinsics_follow_the_working_size(case):
    predictor = Exact(case)
    options = RunOptions(torch.device("cpu"), known_intrinsics=True, long_side=48)
    (score,) = score_pairs(predictor, "exact", [case], options, pictures=False)
    assert predictor.prepared is not None
    assert predictor.prepared[0, 0, 0] == pytest.approx(case.intrinsics[0, 0, 0] / 2)
    assert score.values["epe"] < 0.03
    score_pairs(predictor, "exact", [case], RunOptions(torch.device("cpu")), pictures=False)
    assert predictor.prepared is None


def test_scene_flow_becomes_two_of_the_four_maps():
    first = np.zeros((2, 3, 3), np.float32)
    first[..., 2] = 4.0
    motion = np.eye(4)
    motion[2, 3] = -1.0  # the camera goes one forward
    second = first - np.array((0, 0, 1), np.float32)  # so standing points come one nearer
    valid = np.ones((2, 3), bool)
    valid[0, 0] = False
    images, K = np.zeros((2, 2, 3, 3), np.uint8), np.tile(np.eye(3), (2, 1, 1))
    maps = maps_of_scene_flow(SceneFlowTruth(first, second, valid, motion), images, K)
    assert maps.points[0, 0, 1, 1, 1].tolist() == [0, 0, 4]
    assert maps.valid[0, 0].sum() == 10
    assert not maps.valid[0, 1].any()
    unknown = maps_of_scene_flow(SceneFlowTruth(first, second, valid, None), images, K)
    assert not unknown.valid[0, 0, 1].any()

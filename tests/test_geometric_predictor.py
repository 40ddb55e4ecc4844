"""The geometric predictor on images of textured rectangles with exact truth."""

import math
from functools import lru_cache

import numpy as np
import plane_world as world
import pytest
import torch
from pictures import Frames

from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.clip import PRIOR_FOV_DEG, PRIOR_SIGMA, find_focal, on_guess
from dpm_cli.geometry import camera, rigid
from dpm_cli.matching.consistency import consistency_error
from dpm_cli.matching.dis import dis_flow, pair_flows
from dpm_cli.matching.matcher import Matcher
from dpm_cli.predictors.geometric import GeometricPredictor
from dpm_cli.structures import Clip

SIZE = (144, 256)
K = camera.intrinsics_matrix(
    torch.tensor(camera.focal_from_fov(55, SIZE[1]), dtype=torch.float64), *SIZE
)
SHAPES = (*world.ROOM, world.MOVER)
HOME = world.pose((0, 0, 0), (0, 0, 0))
CASES = {
    "moving": (world.pose((0.01, 0.02, 0.005), (0.3, 0.02, 0.05)), 3),
    "small step": (world.pose((0.003, 0.006, 0.001), (0.08, 0.01, 0.02)), 1),
    "turning": (world.pose((0.01, 0.03, 0.0), (0.0, 0.0, 0.0)), 1),
    "still": (HOME, 3),
    "same": (HOME, 0),
}


def clip_of(images: np.ndarray) -> Clip:
    count, size = len(images), images.shape[1:3]
    index = np.arange(count)
    return Clip("c", Frames(images), size, size, np.eye(3), index, index / 24, "c", "0")


def predictor_for(intrinsics=K) -> GeometricPredictor:
    predictor = GeometricPredictor()
    blank = np.zeros((1, *SIZE, 3), np.uint8)
    predictor.prepare(clip_of(blank), intrinsics.numpy())
    return predictor


def predict(image_1, image_2):
    predictor = predictor_for()
    first, second = (predictor.encode(i[None]) for i in (image_1, image_2))
    return predictor.predict(first, second)


@lru_cache
def case(name):
    """Both views, the truth of flow 1 to 2 and the prediction."""
    cam2world, frames = CASES[name]
    view_1 = world.render(SHAPES, K, HOME, 0, SIZE)
    view_2 = world.render(SHAPES, K, cam2world, frames, SIZE)
    flow = world.true_flow(SHAPES, K, view_1, HOME, cam2world, frames)
    return view_1, view_2, flow, predict(view_1.image, view_2.image)


def motion_of(prediction):
    """Log odds of motion (B, 2, H, W), which this predictor always has."""
    assert prediction.motion_logit is not None
    return prediction.motion_logit


def flow_of(prediction):
    """Flow (B, 2, H, W, 2), which this predictor always has."""
    assert prediction.flow is not None
    return prediction.flow


def relative_error(prediction, view):
    """Relative depth error (H, W) of view 1 after the median scale of the static pixels, and those pixels."""
    static = view.object_id != len(world.ROOM)
    ratio = prediction.points[0, 0, 0, ..., 2].double() / view.depth
    return (ratio / ratio[static].median() - 1).abs(), static


def relative_camera(prediction):
    """cam2_from_cam1 that makes P_2(t_2) project onto image 2's own pixels, by linear equations on exact rays."""
    points = prediction.points[0, 1, 1].double()[::8, ::8].reshape(-1, 3)
    pixels = camera.pixel_grid(*SIZE, dtype=torch.float64)[::8, ::8].reshape(-1, 2)
    ray = camera.rays(pixels, K)
    # ray x (A X + b) = 0 for the twelve unknowns (A, b), up to scale.
    homogeneous = torch.cat((points / points.norm(dim=1).mean(), torch.ones(len(points), 1)), 1)
    rows = torch.einsum("nij,nk->nijk", rigid.hat(ray), homogeneous).flatten(2).flatten(0, 1)
    P = torch.linalg.svd(rows).Vh[-1].view(3, 4)
    P = P / torch.linalg.det(P[:, :3]).sign() / torch.linalg.det(P[:, :3]).abs() ** (1 / 3)
    return P[:, :3], P[:, 3]


@pytest.mark.parametrize("name", ["moving", "small step"])
def test_depth_camera_and_motion(name):
    view_1, _, _, prediction = case(name)
    assert prediction.status == ("ok",)
    error, static = relative_error(prediction, view_1)
    confidence = prediction.confidence[0, 0, 0]
    sure = static & (confidence >= confidence[static].median())
    assert float(error[static].mean()) < 0.08
    assert float(error[sure].mean()) < 0.06
    R, t = relative_camera(prediction)
    true = rigid.invert(CASES[name][0])
    direction = true[:3, 3] / true[:3, 3].norm()
    assert math.degrees(rigid.so3_angle(R @ true[:3, :3].T)) < 0.15
    assert float(t @ direction / t.norm()) > math.cos(math.radians(4))
    moving, found = ~static, motion_of(prediction)[0, 0] > 0
    assert float((moving & found).sum() / (moving | found).sum()) > 0.7


def test_confidence_expects_the_error_that_occurs():
    view_1, _, _, prediction = case("moving")
    error, static = relative_error(prediction, view_1)
    expected = 1 / prediction.confidence[0, 0, 0]
    ratio = float(error[static].mean() / expected[static].mean())
    assert 0.2 < ratio < 1.5


@pytest.mark.parametrize(
    ("name", "limit"), [("moving", 0.8), ("small step", 1.05), ("turning", 1.05), ("still", 1.15)]
)
def test_flow_against_plain_dis(name, limit):
    view_1, view_2, truth, prediction = case(name)
    images = [(v.image * 255).round().byte().permute(1, 2, 0).numpy() for v in (view_1, view_2)]
    plain = torch.from_numpy(dis_flow(images[0], images[1]))
    error = lambda flow: float((flow - truth).norm(dim=-1).mean())
    assert error(flow_of(prediction)[0, 0]) < limit * error(plain)


@pytest.mark.parametrize(("name", "status"), [("turning", "rotation"), ("still", "still")])
def test_a_camera_that_does_not_move_is_said_and_sure_of_nothing(name, status):
    _, _, _, prediction = case(name)
    assert prediction.status == (status,)
    assert float(prediction.confidence[0, 0, 0].max()) < 4
    R, t = relative_camera(prediction)
    true = rigid.invert(CASES[name][0])
    assert math.degrees(rigid.so3_angle(R @ true[:3, :3].T)) < 0.1
    assert float(t.norm()) < 1e-3
    moving = case(name)[0].object_id == len(world.ROOM)
    found = motion_of(prediction)[0, 0] > 0
    assert float((moving & found).sum() / (moving | found).sum()) > 0.5


def test_identical_frames_do_not_move():
    _, _, _, prediction = case("same")
    assert prediction.status == ("still",)
    assert not bool((motion_of(prediction) > 0).any())
    torch.testing.assert_close(prediction.points[:, 0], prediction.points[:, 1])
    torch.testing.assert_close(prediction.points[:, :, 0], prediction.points[:, :, 1])


@pytest.mark.parametrize("grey", [0.0, 0.5])
def test_untextured_images_give_finite_and_unsure_maps(grey):
    flat = torch.full((3, *SIZE), grey)
    prediction = predict(flat, flat)
    assert prediction.status[0] in ("still", "untextured")
    assert bool(torch.isfinite(prediction.points).all())
    assert float(prediction.confidence.max()) < 4


def test_unrelated_images_give_finite_maps():
    rng = torch.Generator().manual_seed(0)
    prediction = predict(*(torch.rand(3, *SIZE, generator=rng) for _ in range(2)))
    for value in (prediction.points, prediction.confidence, motion_of(prediction)):
        assert bool(torch.isfinite(value).all())
    assert float(prediction.confidence.min()) > 0


def test_movers_land_where_the_flow_says():
    """The second law: projecting P_1(t_2) with camera 2 gives pixel + flow where the mover is certain."""
    view_1, _, _, prediction = case("moving")
    R, t = relative_camera(prediction)
    mean = prediction.points[0, 1, 1].double()[::8, ::8].reshape(-1, 3).norm(dim=1).mean()
    cam2_from_cam1 = rigid.rigid(R, t * mean)
    seen = rigid.transform_map(cam2_from_cam1, prediction.points[0, 0, 1].double())
    flow = camera.project_map(seen, K) - camera.pixel_grid(*SIZE, dtype=torch.float64)
    sure = (view_1.object_id == len(world.ROOM)) & (motion_of(prediction)[0, 0] > 3)
    assert int(sure.sum()) > 500
    assert float((flow - flow_of(prediction)[0, 0]).norm(dim=-1)[sure].median()) < 0.5


def test_a_batch_is_its_pairs_and_runs_repeat():
    names = ("moving", "turning")
    predictor = predictor_for()
    first = predictor.encode(torch.stack([case(n)[0].image for n in names]))
    second = predictor.encode(torch.stack([case(n)[1].image for n in names]))
    batch = predictor.predict(first, second)
    again = predictor.predict(first, second)
    assert torch.equal(batch.points, again.points)
    for row, name in enumerate(names):
        alone = case(name)[3]
        assert batch.status[row] == alone.status[0]
        torch.testing.assert_close(batch.points[row], alone.points[0], rtol=2e-3, atol=2e-3)


def path_images(fov_deg, step, turn, frames=6):
    Kf = camera.intrinsics_matrix(
        torch.tensor(camera.focal_from_fov(fov_deg, SIZE[1]), dtype=torch.float64), *SIZE
    )
    poses = [
        world.pose(tuple(i * x for x in turn), tuple(i * x for x in step)) for i in range(frames)
    ]
    views = [world.render(world.ROOM, Kf, p, i, SIZE).image for i, p in enumerate(poses)]
    return (torch.stack(views) * 255).round().byte().permute(0, 2, 3, 1).numpy(), float(Kf[0, 0])


@pytest.mark.parametrize(
    ("step", "turn"), [((0.1, 0.02, 0.05), (0.01, 0.02, 0.005)), ((0, 0, 0), (0.02, 0.04, 0.0))]
)
def test_focal_length_from_a_clip(step, turn):
    images, focal_px = path_images(72, step, turn)
    matcher = Matcher(1)
    matcher.begin(Frames(images))
    found = find_focal(Frames(images), SIZE, matcher)
    assert found.source == "clip"
    assert abs(math.log(found.focal_px / focal_px)) < 0.1


def test_a_still_clip_cannot_tell_its_focal_length_and_says_so():
    images, _ = path_images(80, (0, 0, 0), (0, 0, 0), frames=3)
    predictor = GeometricPredictor()
    found = predictor.prepare(clip_of(images), None)
    assert found is not None
    assert found.source == "assumed"
    assert "cannot be told" in str(found.note(SIZE[1]))
    assert 50 < camera.fov_from_focal(found.focal_px, SIZE[1]) < 64


def test_a_guess_takes_the_place_of_the_prior():
    prior_px = camera.focal_from_fov(PRIOR_FOV_DEG, 512)
    guess = FocalEstimate(700.0, 0.2, "network")
    guessed = on_guess(FocalEstimate(prior_px, PRIOR_SIGMA, "assumed"), guess, 512)
    assert guessed.focal_px == pytest.approx(700)
    assert guessed.sigma_log == pytest.approx(0.2)
    assert guessed.source == "network"
    vague = FocalEstimate(600.0, 0.15, "clip")
    same = on_guess(vague, FocalEstimate(prior_px, PRIOR_SIGMA, "network"), 512)
    assert same.focal_px == pytest.approx(600)
    assert same.sigma_log == pytest.approx(0.15)
    drawn = on_guess(vague, guess, 512)
    assert 600 < drawn.focal_px < 700
    assert drawn.sigma_log < 0.15
    assert drawn.source == "clip"


def test_one_frame_is_a_still_pair():
    images = path_images(60, (0, 0, 0), (0, 0, 0), frames=1)[0]
    predictor = GeometricPredictor()
    predictor.prepare(clip_of(images), None)
    features = predictor.encode(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert predictor.predict(features, features).status == ("still",)


def test_flow_too_far_for_dis_is_found_from_features():
    """A turn that shifts the picture by a third of its width; what is left in view comes back, and the pose with it."""
    cam2world = world.pose((0.0, 0.33, 0.0), (0.2, 0.0, 0.1))
    views = [world.render(SHAPES, K, p, 0, SIZE) for p in (HOME, cam2world)]
    truth = world.true_flow(SHAPES, K, views[0], HOME, cam2world, 0)
    prediction = predict(views[0].image, views[1].image)
    pixels = camera.pixel_grid(*SIZE) + truth
    inside = ((pixels > 8) & (pixels < torch.tensor([SIZE[1] - 8.0, SIZE[0] - 8.0]))).all(-1)
    assert 0.3 < float(inside.float().mean()) < 0.8
    assert float((flow_of(prediction)[0, 0] - truth).norm(dim=-1)[inside].median()) < 1
    R, _ = relative_camera(prediction)
    assert math.degrees(rigid.so3_angle(R @ cam2world[:3, :3])) < 1


def test_pair_flows_find_a_shift_and_agree_both_ways():
    image = world.texture(3, 160)[None]
    shifted = torch.roll(image, (2, 5), (2, 3))
    for preset in ("medium", "sharp"):
        flow = pair_flows(image, shifted, preset)
        inner = flow[0, :, 30:-30, 30:-30]
        expected = torch.tensor([[5.0, 2.0], [-5.0, -2.0]])[:, None, None]
        assert float((inner - expected).norm(dim=-1).mean()) < 0.2
        assert float(consistency_error(flow)[0, :, 30:-30, 30:-30].mean()) < 0.2

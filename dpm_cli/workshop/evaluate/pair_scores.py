"""One prediction for one pair against what is known about it: named numbers.

Every length but pixels is in unit mean norm of the pair (prediction and truth each divided by the mean distance of
their valid points to the first camera), so sets of any scale can be averaged. Depth is fitted by one scale a pair
(ratio of medians). Metrics that the truth cannot judge are left out.
"""

import numpy as np
import torch
from torch import Tensor

from dpm_cli.config import MOTION_THRESHOLD
from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.geometry.matches import mutual_matches
from dpm_cli.geometry.reduce import PairReduction, object_pose, reduce_pair
from dpm_cli.geometry.rigid import transform_map
from dpm_cli.matching.consistency import sample
from dpm_cli.structures import PairPrediction, PairTruth
from dpm_cli.workshop.evaluate.cases import PairCase
from dpm_cli.workshop.metrics import depth as depth_metrics
from dpm_cli.workshop.metrics import pointmaps, scene_flow, trajectory
from dpm_cli.workshop.metrics.correspondence import match_errors
from dpm_cli.workshop.metrics.focal import focal_error
from dpm_cli.workshop.metrics.masked import masked_mean
from dpm_cli.workshop.metrics.masks import boundary_f, iou
from dpm_cli.workshop.metrics.optical_flow import flow_errors

MAPS = ("p11", "p12", "p21", "p22")
"""[view, time] in the order of the paper's P_view(t_time)."""
_MATCH_STRIDE = 4
_OBJECT_PIXELS = 100
_OBJECT_SAMPLES = 1000
_STILL_SHARE = 0.01
"""A camera that moves less than this share of the mean distance has no direction to be judged."""


def resize_prediction(prediction: PairPrediction, size: tuple[int, int]) -> PairPrediction:
    """The prediction at another image size (height, width), read between its pixels; flow is rescaled."""
    height, width = prediction.points.shape[-3:-1]
    if (height, width) == size:
        return prediction
    grid = pixel_grid(*size, device=prediction.points.device)
    scale = grid.new_tensor((width / size[1], height / size[0]))
    pixels = ((grid + 0.5) * scale - 0.5)[None]

    def resize(maps: Tensor | None) -> Tensor | None:
        """Maps (B, ..., H, W)."""
        if maps is None:
            return None
        flat = maps.float().reshape(len(maps), -1, height, width)
        return sample(flat, pixels.expand(len(maps), -1, -1, -1)).reshape(*maps.shape[:-2], *size)

    points = resize(prediction.points.movedim(-1, -3))
    confidence = resize(prediction.confidence)
    assert points is not None
    assert confidence is not None
    flow = None if prediction.flow is None else resize(prediction.flow.movedim(-1, -3))
    return PairPrediction(
        points=points.movedim(-3, -1),
        confidence=confidence,
        flow=None if flow is None else flow.movedim(-3, -1) / scale,
        motion_logit=resize(prediction.motion_logit),
        valid_logit=resize(prediction.valid_logit),
        status=prediction.status,
    )


def score_pair(
    prediction: PairPrediction, reduction: PairReduction, case: PairCase
) -> dict[str, float]:
    """All that can be said of one pair (B = 1) at the truth's size; NaN is left out."""
    values: dict[str, float] = {}
    if case.maps is not None:
        points = prediction.points.float().cpu().nan_to_num(0.0, 0.0, 0.0)
        values |= score_maps(points, case.maps)
        values |= _score_depth(reduction, case.maps)
        values |= _score_motion3d(points, case.maps, metric=case.metric)
        values |= _score_camera(reduction, case.maps)
        values |= _score_matches(points, prediction, case)
        values |= _score_objects(points, case)
    if case.flow is not None:
        values |= _score_flow(reduction, case)
    if case.intrinsics is not None:
        focal = reduction.focal_px[0].cpu().numpy()
        values["focal_error"] = focal_error(focal, case.intrinsics[:, 0, 0])
    if case.moving is not None:
        values |= _score_mask(reduction, case.moving)
    return {k: float(v) for k, v in values.items() if np.isfinite(v)}


def reduce_at(prediction: PairPrediction, intrinsics: np.ndarray | None) -> PairReduction:
    """The reductions, with the true intrinsics (2, 3, 3) where they are given."""
    if intrinsics is None:
        return reduce_pair(prediction)
    K1, K2 = (torch.from_numpy(K) for K in intrinsics)
    return reduce_pair(prediction, K1, K2)


def score_maps(points: Tensor, truth: PairTruth) -> dict[str, float]:
    """Four-map EPE, both readings of L_rel, and the defining law, of maps (1, 2, 2, H, W, 3)."""
    maps, exact, valid = points.numpy(), truth.points.numpy(), truth.valid.numpy()
    errors = pointmaps.map_errors(maps, exact, valid)
    values = {f"epe_{name}": e for name, e in zip(MAPS, errors.epe[0].ravel(), strict=True)}
    if valid.any():
        values["epe"] = float(np.nanmean(errors.epe))
        values["lrel"] = float(np.nanmean(errors.relative_pointwise))
        values["lrel_ratio"] = float(np.nanmean(errors.relative_ratio))
    flow, visible = truth.flow[:, 0].numpy(), truth.visible[:, 0].numpy()
    if visible.any():
        law = pointmaps.defining_law_error(maps, valid, flow, visible)[0]
        values |= {"law_t1": law[0], "law_t2": law[1]}
    return values


def _own_depth(truth: PairTruth) -> tuple[np.ndarray, np.ndarray]:
    """True z (2, H, W) of each view in its own camera, and where it is known."""
    second = transform_map(truth.cam2_from_cam1[:, None], truth.points[:, 1, 1:2])[0, 0, ..., 2]
    z = torch.stack((truth.points[0, 0, 0, ..., 2], second)).numpy()
    known = torch.stack((truth.valid[0, 0, 0], truth.valid[0, 1, 1])).numpy()
    return z, known & (z > 0)


def _score_depth(reduction: PairReduction, truth: PairTruth) -> dict[str, float]:
    depth, confidence = reduction.depth[0].cpu().numpy(), reduction.confidence[0].cpu().numpy()
    z, known = _own_depth(truth)
    if not known.any():
        return {}
    predicted = reduction.valid[0].cpu().numpy()
    if not (known & predicted).any():
        return {"depth_cover": 0.0}
    depth = np.stack([depth_metrics.fill(d, v) for d, v in zip(depth, predicted, strict=True)])
    aligned = depth_metrics.median_scale(depth, z, known).apply(depth)
    errors = depth_metrics.depth_errors(aligned, z, known)
    values = {"absrel": errors.absrel, "delta_1_25": errors.delta_1_25}
    for name, chosen in (("", known), ("_static", known & ~truth.moving[0].numpy())):
        if chosen.any():
            sure = chosen & (confidence >= np.median(confidence[chosen]))
            values[f"absrel{name}"] = depth_metrics.depth_errors(aligned, z, chosen).absrel
            values[f"absrel{name}_confident"] = depth_metrics.depth_errors(aligned, z, sure).absrel
    return values | {"depth_cover": depth_metrics.cover(predicted, known)}


def _score_motion3d(points: Tensor, truth: PairTruth, *, metric: bool) -> dict[str, float]:
    """Scene flow forwards and backwards, in the world (camera 1's frame) and in the moving camera's frame."""
    valid = truth.valid.numpy()
    both = valid[0].all(1)
    if not both.any():
        return {}
    factor = pointmaps.mean_norm(truth.points.numpy(), valid)[0]
    p = pointmaps.unit_mean_norm(points.numpy(), valid)[0]
    g = truth.points[0].numpy() / factor
    values = {}
    for name, view, start, end in (("", 0, 0, 1), ("_bwd", 1, 1, 0)):
        flow, exact = p[view, end] - p[view, start], g[view, end] - g[view, start]
        errors = scene_flow.scene_flow_errors(flow, exact, both[view])
        movers = truth.moving[0, view].numpy() & both[view]
        moved = scene_flow.scene_flow_errors(flow, exact, movers)
        values |= {
            f"scene_flow_epe{name}": errors.epe,
            f"scene_flow_movers{name}": moved.size_ratio,
            f"scene_flow_static{name}": scene_flow.scene_flow_errors(
                flow, exact, both[view] & ~movers
            ).epe,
        }
        if metric and view == 0:
            in_metres = scene_flow.scene_flow_errors(flow * factor, exact * factor, both[view])
            values |= {
                "scene_flow_epe_m": in_metres.epe,
                "scene_flow_acc_5cm": in_metres.acc_strict,
                "scene_flow_acc_10cm": in_metres.acc_relaxed,
            }
    motion = truth.cam2_from_cam1[0].double().numpy()
    motion[:3, 3] /= factor
    seen, exact = (scene_flow.camera_frame_flow(m[0, 0], m[0, 1], motion) for m in (p, g))
    values["scene_flow_epe_camera"] = scene_flow.scene_flow_errors(seen, exact, both[0]).epe
    return values


def _score_camera(reduction: PairReduction, truth: PairTruth) -> dict[str, float]:
    if not truth.valid[:, 1].any() and not truth.valid[0, 0, 1].any():
        return {}
    pose = reduction.cam2_from_cam1.cpu().numpy()
    exact = truth.cam2_from_cam1.double().numpy()
    values = {"rot_deg": float(trajectory.pose_errors(pose, exact)[0][0])}
    distance = pointmaps.mean_norm(truth.points.numpy(), truth.valid.numpy())[0]
    if np.linalg.norm(exact[0, :3, 3]) > _STILL_SHARE * distance:
        centre, wanted = (np.linalg.inv(m)[:, :3, 3] for m in (pose, exact))
        values["trans_dir_deg"] = float(trajectory.direction_error_deg(centre, wanted)[0])
    return values


def _score_matches(points: Tensor, prediction: PairPrediction, case: PairCase) -> dict[str, float]:
    """Mutual nearest neighbours between P_1(t_1) and P_2(t_1), judged by the true flow."""
    truth = case.maps
    if truth is None or case.flow is None or not truth.valid[0, 1].any():
        return {}
    confidence = prediction.confidence[0, :, 0].float().cpu()
    everywhere = torch.ones_like(confidence[0], dtype=torch.bool)
    matches = mutual_matches(
        points[0, 0, 0],
        points[0, 1, 0],
        confidence[0],
        confidence[1],
        everywhere,
        everywhere,
        stride=_MATCH_STRIDE,
        max_distance=0.05,
    )
    visible = case.flow.valid if case.flow.visible is None else case.flow.visible & case.flow.valid
    errors = match_errors(matches.pixels_1, matches.pixels_2, case.flow.flow, visible)
    return {
        "match_1px": errors.within_1px,
        "match_3px": errors.within_3px,
        "match_5px": errors.within_5px,
        "match_count": float(errors.count),
    }


def _score_objects(points: Tensor, case: PairCase) -> dict[str, float]:
    """Rigid motion of each object that moves as a whole, fitted to the prediction and to the truth alike."""
    truth = case.maps
    if truth is None or case.object_ids is None:
        return {}
    valid = truth.valid.numpy()
    unit = torch.from_numpy(pointmaps.unit_mean_norm(points.numpy(), valid))[0]
    exact = torch.from_numpy(pointmaps.unit_mean_norm(truth.points.numpy(), valid))[0]
    moving = (truth.moving[0, 0] & truth.valid[0, 0].all(0)).numpy()
    everywhere = torch.ones(unit.shape[2:4])
    rotation, translation = [], []
    for number in np.unique(case.object_ids[moving]):
        rows, columns = np.nonzero((case.object_ids == number) & moving)
        if len(rows) < _OBJECT_PIXELS:
            continue
        some = slice(None, None, max(1, len(rows) // _OBJECT_SAMPLES))
        mask = torch.zeros(everywhere.shape, dtype=torch.bool)
        mask[rows[some], columns[some]] = True
        try:
            wanted = object_pose(exact[0, 0], exact[0, 1], mask, everywhere)
            found = object_pose(unit[0, 0], unit[0, 1], mask, everywhere)
        except DegenerateGeometryError:
            continue
        if float(wanted.residual.median()) > 1e-3:
            continue
        centre = exact[0, 0][mask].double().mean(0)[None].numpy()
        estimate, motion = (m.target_from_source[None].numpy() for m in (found, wanted))
        angle, shift = trajectory.object_motion_errors(estimate, motion, centre)
        rotation.append(angle[0])
        translation.append(shift[0])
    if not rotation:
        return {}
    return {"object_rot_deg": float(np.mean(rotation)), "object_trans": float(np.mean(translation))}


def _score_flow(reduction: PairReduction, case: PairCase) -> dict[str, float]:
    assert case.flow is not None
    flow, truth = reduction.flow[0, 0].cpu().numpy(), case.flow
    everything = flow_errors(flow, truth.flow, truth.valid)
    values = {
        "flow_epe": everything.epe,
        "flow_fl": everything.fl,
        "flow_1px": everything.within_1px,
    }
    if truth.visible is not None:
        seen = truth.visible & truth.valid
        values["flow_epe_visible"] = flow_errors(flow, truth.flow, seen).epe
        values["flow_epe_hidden"] = flow_errors(flow, truth.flow, truth.valid & ~truth.visible).epe
    if case.moving is not None:
        values["flow_epe_movers"] = flow_errors(
            flow, truth.flow, truth.valid & (case.moving == 1)
        ).epe
    return values


def _score_mask(reduction: PairReduction, moving: np.ndarray) -> dict[str, float]:
    mask = (reduction.motion[0, 0] > MOTION_THRESHOLD).cpu().numpy()
    known = moving >= 0
    values = {"motion_false": masked_mean(mask.astype(np.float32), known & (moving == 0))}
    if (moving == 1).any():
        values["motion_iou"] = iou(mask, moving == 1, known)
        if known.mean() > 0.99:
            values["motion_f"] = boundary_f(mask, moving == 1)
    return values

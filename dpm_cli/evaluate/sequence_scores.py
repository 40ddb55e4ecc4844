"""A reconstructed sequence against what is known about its frames: named numbers.

Depth is fitted once a sequence, by scale (`absrel`) and by scale and shift (`absrel_shift`), cameras by Sim(3) on
their centres. Lengths are in scene units (metres where the data set is metric); scene flow is in units of the mean
depth. Frames are matched by their number in the source.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from dpm_cli.datasets.four_maps import has_four_maps, pair_truth
from dpm_cli.datasets.truth import SequenceTruth
from dpm_cli.errors import DegenerateGeometryError, InputError
from dpm_cli.geometry.procrustes import fit_similarity
from dpm_cli.geometry.similarity import apply_to_cameras, scale_of
from dpm_cli.metrics import depth as depth_metrics
from dpm_cli.metrics import trajectory
from dpm_cli.metrics.clouds import cloud_errors
from dpm_cli.metrics.focal import focal_error
from dpm_cli.metrics.masks import boundary_f, iou
from dpm_cli.metrics.optical_flow import flow_errors
from dpm_cli.metrics.scene_flow import scene_flow_errors
from dpm_cli.sequence import Sequence4D

MOTION_FRAMES = 20
"""At most so many neighbouring frames are judged for flow and scene flow, evenly spaced."""
_CLOUD_FRAMES = 8
_CLOUD_POINTS = 4000
_STILL_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class MatchedSequence:
    """A result and the truth of its frames."""

    result: Sequence4D
    truth: SequenceTruth
    frames: np.ndarray
    """(T,) int64 frame of the truth for each frame of the result."""

    @classmethod
    def match(cls, result: Sequence4D, truth: SequenceTruth) -> "MatchedSequence":
        """Join by the frames' number in the source.

        Raises:
            InputError: the result has frames that the truth does not know.
        """
        if len(result) and int(result.frame_index.max()) >= len(truth):
            raise InputError(
                f"{result.name}: frame {int(result.frame_index.max())} is not among the {len(truth)} frames of "
                f"{truth.name}: is it a result of the same clip?"
            )
        return cls(result, truth, result.frame_index)

    def depth(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prediction, truth and where it is known, each (H, W), of one frame at the truth's size."""
        assert self.truth.depth is not None
        truth = self.truth.depth[int(self.frames[row])]
        found = _read(self.result, row, "depth"), _read(self.result, row, "valid")
        depth = cv2.resize(
            depth_metrics.fill(*found), truth.shape[::-1], interpolation=cv2.INTER_CUBIC
        )
        return depth, truth, (truth > 0) & (truth < self.truth.max_depth)


@dataclass(frozen=True)
class SequenceScore:
    """Numbers of one sequence."""

    values: dict[str, float]
    depth_pixels: int
    """Valid pixels behind the depth metrics."""
    scale: float
    """truth = scale * result, from depth, else from the cameras."""


def score_sequence(result: Sequence4D, truth: SequenceTruth) -> SequenceScore:
    """All that can be said of one sequence; NaN is left out.

    Raises:
        InputError: the result has frames that the truth does not know.
    """
    matched = MatchedSequence.match(result, truth)
    values: dict[str, float] = {}
    pixels, scale = 0, 1.0
    if truth.depth is not None:
        depth_values, pixels, scale = _score_depth(matched)
        values |= depth_values
    if truth.cam2world is not None:
        camera_values, world = _score_cameras(matched, scale)
        values |= camera_values
        if truth.depth is not None and world is not None:
            values |= _score_clouds(matched, world)
        if truth.depth is None and world is not None:
            scale = float(scale_of(torch.from_numpy(world)))
    if truth.intrinsics is not None:
        values["focal_error"] = focal_error(
            result.intrinsics_source[:, 0, 0], truth.intrinsics[matched.frames, 0, 0]
        )
    values |= _score_masks(matched) | _score_flow(matched) | _score_scene_flow(matched, scale)
    return SequenceScore({k: float(v) for k, v in values.items() if np.isfinite(v)}, pixels, scale)


def _read(result: Sequence4D, row: int, key: str) -> np.ndarray:
    value = result.read(row, key)
    if value is None:
        raise InputError(f"{result.name}: frame {row} has no {key}")
    return value


def _score_depth(matched: MatchedSequence) -> tuple[dict[str, float], int, float]:
    """Two passes over the frames, one for the fits and one for the errors, so that nothing holds them all."""
    rows = range(len(matched.frames))
    per_frame = depth_metrics.FIT_SAMPLES // max(len(rows), 1)
    samples, logs, covered = [], [], []
    for row in rows:
        depth, truth, known = matched.depth(row)
        if known.any():
            step = max(1, int(known.sum()) // max(per_frame, 1))
            samples.append(np.stack((depth[known], truth[known]))[:, ::step])
            logs.append(np.log(depth_metrics.median_scale(depth, truth, known).scale))
            covered.append(_read(matched.result, row, "valid").mean())
    if not samples:
        return {}, 0, 1.0
    d, g = np.concatenate(samples, 1)
    everywhere = np.ones_like(d, bool)
    fits = {
        "": depth_metrics.lad_scale(d, g, everywhere),
        "_shift": depth_metrics.lad_scale_shift(d, g, everywhere),
        "_median": depth_metrics.median_scale(d, g, everywhere),
    }
    errors = {name: [] for name in fits}
    for row in rows:
        depth, truth, known = matched.depth(row)
        if known.any():
            for name, fit in fits.items():
                errors[name].append(depth_metrics.depth_errors(fit.apply(depth), truth, known))
    values = {"scale_spread": float(np.std(logs)), "depth_cover": float(np.mean(covered))}
    weights = [e.pixels for e in errors[""]]
    for name, each in errors.items():
        values[f"absrel{name}"] = float(np.average([e.absrel for e in each], weights=weights))
        values[f"delta_1_25{name}"] = float(
            np.average([e.delta_1_25 for e in each], weights=weights)
        )
    del values["delta_1_25_median"]
    return values, int(sum(weights)), fits[""].scale


def _score_cameras(
    matched: MatchedSequence, scale: float
) -> tuple[dict[str, float], np.ndarray | None]:
    """Camera metrics, and the similarity (4, 4) from the result's world to the truth's."""
    assert matched.truth.cam2world is not None
    truth = matched.truth.cam2world[matched.frames]
    used = matched.result.camera_ok & np.isfinite(truth).all((1, 2))
    values = {"registered": float(used.mean())}
    if used.sum() < 2:
        return values, None
    poses, exact = matched.result.cam2world[used], truth[used]
    world = _world_alignment(poses, exact, scale)
    aligned = apply_to_cameras(torch.from_numpy(world), torch.from_numpy(poses)).numpy()
    steps = trajectory.rpe(aligned, exact)
    values["rpe_rot_deg"] = steps.rotation_deg
    path = float(np.linalg.norm(np.diff(exact[:, :3, 3], axis=0), axis=-1).sum())
    if not _stands(matched, path):
        values |= {"rpe_trans": steps.translation, "ate": trajectory.ate(aligned, exact)}
        values["ate_share"] = values["ate"] / path
    return values, world


def _stands(matched: MatchedSequence, path: float) -> bool:
    """A camera that stands still has no trajectory to be fitted to."""
    if matched.truth.depth is None:
        return path < 1e-6
    depth = matched.truth.depth[int(matched.frames[0])]
    return (
        path < _STILL_SHARE * float(np.median(depth[depth > 0]))
        if (depth > 0).any()
        else path < 1e-6
    )


def _world_alignment(poses: np.ndarray, truth: np.ndarray, scale: float) -> np.ndarray:
    """Umeyama's similarity on the centres; with a straight or standing path, the first camera and `scale`."""
    centres = [torch.from_numpy(p[:, :3, 3].copy()) for p in (poses, truth)]
    try:
        found = fit_similarity(*centres, scale="least-squares").numpy()
        if np.isfinite(found).all() and np.linalg.det(found[:3, :3]) > 1e-12:
            return found
    except DegenerateGeometryError:
        pass
    return truth[0] @ np.diag((scale, scale, scale, 1.0)) @ np.linalg.inv(poses[0])


def _score_clouds(matched: MatchedSequence, world: np.ndarray) -> dict[str, float]:
    assert matched.truth.depth is not None
    assert matched.truth.cam2world is not None
    assert matched.truth.intrinsics is not None
    found, exact = [], []
    rows = np.linspace(0, len(matched.frames) - 1, _CLOUD_FRAMES).round().astype(int)
    for row in np.unique(rows):
        t = int(matched.frames[row])
        points = _read(matched.result, row, "points")[_read(matched.result, row, "valid")]
        found.append(_thin(points.astype(np.float64)))
        depth = matched.truth.depth[t]
        y, x = np.nonzero((depth > 0) & (depth < matched.truth.max_depth))
        rays = np.stack((x, y, np.ones_like(x)), -1) @ np.linalg.inv(matched.truth.intrinsics[t]).T
        pose = matched.truth.cam2world[t]
        if np.isfinite(pose).all():
            exact.append(_thin((rays * depth[y, x, None]) @ pose[:3, :3].T + pose[:3, 3]))
    cloud = np.concatenate(found) @ world[:3, :3].T + world[:3, 3]
    errors = cloud_errors(cloud, np.concatenate(exact))
    return {
        "cloud_accuracy": errors.accuracy_median,
        "cloud_completeness": errors.completeness_median,
    }


def _thin(points: np.ndarray) -> np.ndarray:
    return points[:: max(1, len(points) // _CLOUD_POINTS)]


def _score_masks(matched: MatchedSequence) -> dict[str, float]:
    if matched.truth.masks is None:
        return {}
    regions, boundaries = [], []
    for row, t in enumerate(matched.frames):
        labels = matched.truth.masks[int(t)]
        if not (labels == 1).any():
            continue
        score = cv2.resize(_read(matched.result, row, "dynamic"), labels.shape[::-1])
        regions.append(iou(score > 0.5, labels == 1, labels >= 0))
        boundaries.append(boundary_f(score > 0.5, labels == 1))
    if not regions:
        return {}
    return {"motion_iou": float(np.mean(regions)), "motion_f": float(np.mean(boundaries))}


def _neighbours(matched: MatchedSequence) -> list[int]:
    """Rows of the result whose successor is the next frame of the truth too, evenly thinned."""
    rows = np.flatnonzero(np.diff(matched.frames) == 1)
    if len(rows) > MOTION_FRAMES:
        rows = rows[np.linspace(0, len(rows) - 1, MOTION_FRAMES).round().astype(int)]
    return [int(r) for r in rows]


def _score_flow(matched: MatchedSequence) -> dict[str, float]:
    truth = matched.truth
    if truth.flow is None:
        return {}
    found = []
    for row in _neighbours(matched):
        pair = (int(matched.frames[row]), int(matched.frames[row]) + 1)
        flow = matched.result.read(row, "flow_fwd")
        if pair in truth.flow_pairs and flow is not None:
            exact = truth.flow[truth.flow_pairs.index(pair)]
            height, width = exact.valid.shape
            scale = np.array((width / flow.shape[1], height / flow.shape[0]), np.float32)
            found.append(
                flow_errors(cv2.resize(flow, (width, height)) * scale, exact.flow, exact.valid)
            )
    if not found:
        return {}
    return {
        "flow_epe": float(np.mean([e.epe for e in found])),
        "flow_fl": float(np.mean([e.fl for e in found])),
    }


def _score_scene_flow(matched: MatchedSequence, scale: float) -> dict[str, float]:
    """World displacements towards the next frame, turned into the camera of their frame, where both agree on axes."""
    if not has_four_maps(matched.truth) or matched.truth.static:
        return {}
    everything, movers = [], []
    for row in _neighbours(matched):
        t = int(matched.frames[row])
        flow = matched.result.read(row, "scene_flow_fwd")
        if flow is None:
            continue
        maps = pair_truth(matched.truth, t, t + 1)
        known = maps.valid[0, 0].all(0).numpy()
        exact = (maps.points[0, 0, 1] - maps.points[0, 0, 0]).numpy()
        turned = flow @ matched.result.cam2world[row, :3, :3]
        found = scale * cv2.resize(turned.astype(np.float32), known.shape[::-1])
        unit = float(maps.points[0, 0, 0, ..., 2].numpy()[known].mean()) if known.any() else np.nan
        everything.append(scene_flow_errors(found / unit, exact / unit, known).epe)
        moving = known & maps.moving[0, 0].numpy()
        movers.append(scene_flow_errors(found, exact, moving).size_ratio)
    if not everything:
        return {}
    known_movers = [m for m in movers if np.isfinite(m)]
    ratio = {"scene_flow_movers": float(np.mean(known_movers))} if known_movers else {}
    return {"scene_flow_epe": float(np.nanmean(everything))} | ratio

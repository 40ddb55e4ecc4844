"""A reconstructed sequence against what is known about its frames: named numbers.

Depth is fitted once a sequence, by scale (`absrel`) and by scale and shift (`absrel_shift`), cameras by Sim(3) on
their centres. Lengths are in scene units (metres where the data set is metric); scene flow is in units of the mean
depth. Frames are matched by their number in the source.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.procrustes import fit_similarity
from dpm_cli.geometry.similarity import apply_to_cameras, scale_of
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.evaluate.matched import MatchedSequence
from dpm_cli.workshop.evaluate.motion_scores import score_flow, score_masks, score_scene_flow
from dpm_cli.workshop.evaluate.object_scores import score_objects
from dpm_cli.workshop.evaluate.spread_scores import score_spread
from dpm_cli.workshop.evaluate.track_scores import score_tracks
from dpm_cli.workshop.metrics import depth as depth_metrics
from dpm_cli.workshop.metrics import trajectory
from dpm_cli.workshop.metrics.clouds import cloud_errors
from dpm_cli.workshop.metrics.focal import focal_error

_CLOUD_FRAMES = 8
_CLOUD_POINTS = 4000
_STILL_SHARE = 0.01
_STEP_SHARE = 0.1
"""A step shorter than this share of the mean step has no direction to be judged."""


@dataclass(frozen=True)
class SequenceScore:
    """Numbers of one sequence."""

    values: dict[str, float]
    depth_pixels: int
    """Valid pixels behind the depth metrics."""


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
        if truth.objects is not None and world is not None:
            values |= score_objects(matched, world)
        if truth.depth is None and world is not None:
            scale = float(scale_of(torch.from_numpy(world)))
    if truth.intrinsics is not None:
        values["focal_error"] = focal_error(
            result.intrinsics_source[:, 0, 0], truth.intrinsics[matched.frames, 0, 0]
        )
    values |= (
        score_spread(matched)
        | score_masks(matched)
        | score_flow(matched)
        | score_scene_flow(matched, scale)
        | score_tracks(matched)
    )
    return SequenceScore({k: float(v) for k, v in values.items() if np.isfinite(v)}, pixels)


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
            covered.append(matched.read(row, "valid").mean())
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
    return values | _static_depth(matched, fits[""]), int(sum(weights)), fits[""].scale


def _static_depth(matched: MatchedSequence, fit: depth_metrics.DepthFit) -> dict[str, float]:
    """AbsRel where nothing moves by itself, of all such pixels and of the more confident half of every frame."""
    if matched.truth.masks is None:
        return {}
    everything, sure = [], []
    for row, t in enumerate(matched.frames):
        depth, truth, known = matched.depth(row)
        static = known & (matched.truth.masks[int(t)] == 0)
        if not static.any():
            continue
        confidence = cv2.resize(matched.read(row, "confidence"), truth.shape[::-1])
        surer = static & (confidence >= np.median(confidence[static]))
        for found, chosen in ((everything, static), (sure, surer)):
            found.append(depth_metrics.depth_errors(fit.apply(depth), truth, chosen))
    if not everything:
        return {}
    return {
        name: float(np.average([e.absrel for e in found], weights=[e.pixels for e in found]))
        for name, found in (("absrel_static", everything), ("absrel_static_confident", sure))
    }


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
        values |= _score_steps(poses, exact, path)
    return values, world


def _score_steps(poses: np.ndarray, truth: np.ndarray, path: float) -> dict[str, float]:
    """Mean errors of the steps from frame to frame, and of their direction where the true camera made one."""
    steps, exact = (np.linalg.inv(p[:-1]) @ p[1:] for p in (poses, truth))
    values = {"step_rot_deg": float(trajectory.pose_errors(steps, exact)[0].mean())}
    long = np.linalg.norm(exact[:, :3, 3], axis=1) > _STEP_SHARE * path / len(exact)
    if long.any():
        off = trajectory.direction_error_deg(steps[long, :3, 3], exact[long, :3, 3])
        values["step_dir_deg"] = float(off.mean())
    return values


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
        points = matched.read(row, "points")[matched.read(row, "valid")]
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
        "cloud_accuracy": errors.accuracy,
        "cloud_completeness": errors.completeness,
    }


def _thin(points: np.ndarray) -> np.ndarray:
    return points[:: max(1, len(points) // _CLOUD_POINTS)]

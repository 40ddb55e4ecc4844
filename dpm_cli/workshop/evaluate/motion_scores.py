"""What moves in a reconstructed sequence against the truth: masks, optical flow and scene flow between neighbours."""

import cv2
import numpy as np

from dpm_cli.workshop.datasets.four_maps import has_four_maps, pair_truth
from dpm_cli.workshop.evaluate.matched import MatchedSequence
from dpm_cli.workshop.metrics.masks import boundary_f, iou
from dpm_cli.workshop.metrics.optical_flow import flow_errors
from dpm_cli.workshop.metrics.scene_flow import scene_flow_errors

MOTION_FRAMES = 20
"""At most so many neighbouring frames are judged for flow and scene flow, evenly spaced."""


def score_masks(matched: MatchedSequence) -> dict[str, float]:
    """Region and boundary measure, means over the frames in which something moves."""
    if matched.truth.masks is None:
        return {}
    regions, boundaries = [], []
    for row, t in enumerate(matched.frames):
        labels = matched.truth.masks[int(t)]
        if not (labels == 1).any():
            continue
        score = cv2.resize(matched.read(row, "dynamic"), labels.shape[::-1])
        regions.append(iou(score > 0.5, labels == 1, labels >= 0))
        boundaries.append(boundary_f(score > 0.5, labels == 1))
    if not regions:
        return {}
    return {"motion_iou": float(np.mean(regions)), "motion_f": float(np.mean(boundaries))}


def neighbours(matched: MatchedSequence) -> list[int]:
    """Rows of the result whose successor is the next frame of the truth too, evenly thinned."""
    rows = np.flatnonzero(np.diff(matched.frames) == 1)
    if len(rows) > MOTION_FRAMES:
        rows = rows[np.linspace(0, len(rows) - 1, MOTION_FRAMES).round().astype(int)]
    return [int(r) for r in rows]


def score_flow(matched: MatchedSequence) -> dict[str, float]:
    """End-point error and Fl towards the next frame, at the truth's size."""
    truth = matched.truth
    if truth.flow is None:
        return {}
    found = []
    for row in neighbours(matched):
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


def score_scene_flow(matched: MatchedSequence, scale: float) -> dict[str, float]:
    """World displacements towards the next frame, turned into the camera of their frame, where both agree on axes."""
    if not has_four_maps(matched.truth) or matched.truth.static:
        return {}
    everything, movers = [], []
    for row in neighbours(matched):
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

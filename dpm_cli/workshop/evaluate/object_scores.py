"""Objects of a reconstructed sequence against the true rigid movers: which are found, and how their poses go on.

Relative pose error over neighbouring frames, as the paper judges object poses: the found object's motion from a frame
to the next, put into the truth's world, against the true one, its translation taken at the middle of the object's
pixels. A true object is found in a step where one found object has its pixels, with at least half their union in both
frames.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.objects import Objects, find_objects
from dpm_cli.workshop.evaluate.matched import MatchedSequence
from dpm_cli.workshop.metrics.trajectory import object_motion_errors

_SMALLEST_SHARE = 0.002
"""Of the picture: what is seen of a true object below this is not asked for."""
_FOUND = 0.5
"""Intersection over union with the true pixels."""


@dataclass(frozen=True)
class _Step:
    """One true object from a frame to the next."""

    thing: int
    label: int
    """The found object, 0 where there is none."""
    rotation_deg: float
    off: float
    """Displacement of the middle away from the truth, scene units."""
    moved: float
    """True displacement of the middle, scene units."""


def score_objects(matched: MatchedSequence, world: np.ndarray) -> dict[str, float]:
    """Scores of all steps of all true objects; `world` (4, 4) is the similarity from the result's world to the truth's.

    `object_found` share of steps; `object_rpe_rot_deg` and `object_rpe_trans` (scene units) RMSE of the found ones,
    `object_rpe_share` the latter's mean over the mean true displacement (1 = standing still), `object_one_id` share of
    found steps in which a thing has its most frequent identity.
    """
    found = find_objects(matched.result)
    steps = []
    for row in np.flatnonzero(np.diff(matched.frames) == 1):
        steps += _steps(matched, found, int(row), world)
    if not steps:
        return {}
    hits = [step for step in steps if step.label]
    values = {"object_found": len(hits) / len(steps)}
    if not hits:
        return values
    rotation, off = np.array([(s.rotation_deg, s.off) for s in hits]).T
    same = sum(
        np.bincount([s.label for s in hits if s.thing == thing]).max()
        for thing in {s.thing for s in hits}
    )
    return values | {
        "object_rpe_rot_deg": float(np.sqrt((rotation**2).mean())),
        "object_rpe_trans": float(np.sqrt((off**2).mean())),
        "object_rpe_share": float(off.mean() / max(np.mean([s.moved for s in hits]), 1e-12)),
        "object_one_id": float(same / len(hits)),
    }


def _steps(matched: MatchedSequence, found: Objects, row: int, world: np.ndarray) -> list[_Step]:
    """Every true object that is seen in frame `row` of the result and in the next."""
    truth = matched.truth
    assert truth.objects is not None
    assert truth.depth is not None
    assert truth.intrinsics is not None
    assert truth.cam2world is not None
    t = int(matched.frames[row])
    ids = [truth.objects.ids[t], truth.objects.ids[t + 1]]
    labels = [
        cv2.resize(found.labels[r], ids[0].shape[::-1], interpolation=cv2.INTER_NEAREST)
        for r in (row, row + 1)
    ]
    steps = []
    for thing in range(truth.objects.poses.shape[1]):
        masks = [each == thing for each in ids]
        if min(mask.sum() for mask in masks) < _SMALLEST_SHARE * masks[0].size:
            continue
        y, x = np.nonzero(masks[0])
        rays = np.stack((x, y, np.ones_like(x)), -1) @ np.linalg.inv(truth.intrinsics[t]).T
        middle = np.median(rays * truth.depth[t][masks[0]][:, None], axis=0)
        centre = truth.cam2world[t, :3, :3] @ middle + truth.cam2world[t, :3, 3]
        poses = truth.objects.poses[t : t + 2, thing]
        exact = poses[1] @ np.linalg.inv(poses[0])
        label = _same_in_both(labels, masks)
        rotation, off = np.nan, np.nan
        if label:
            before, after = found.world_from_object[row : row + 2, label - 1]
            motion = world @ after @ np.linalg.inv(before) @ np.linalg.inv(world)
            errors = object_motion_errors(motion[None], exact[None], centre[None])
            rotation, off = (float(e[0]) for e in errors)
        moved = float(np.linalg.norm(exact[:3, :3] @ centre + exact[:3, 3] - centre))
        steps.append(_Step(thing, label, rotation, off, moved))
    return steps


def _same_in_both(labels: list[np.ndarray], masks: list[np.ndarray]) -> int:
    """The found object that has the true pixels in both frames, 0 where there is none."""
    counts = np.bincount(labels[0][masks[0]], minlength=1)
    counts[0] = 0
    label = int(counts.argmax())
    if not counts[label]:
        return 0
    shares = [
        (mask & (each == label)).sum() / (mask | (each == label)).sum()
        for each, mask in zip(labels, masks, strict=True)
    ]
    return label if min(shares) >= _FOUND else 0

"""Truth of a pair's four dynamic point maps from what a sequence knows: depth, cameras, and how things move.

A point of frame i is unprojected by its depth. Where it is at the other time comes from, in this order: the data set's
own function, a static scene, the poses of rigid objects, tracks (single pixels); else only same-time maps are known.
"""

import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry.camera import pixel_grid, project_map, unproject
from dpm_cli.geometry.rigid import invert, transform, transform_map
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.synthetic.truth import FLOW_LIMIT, MOVING_SHARE

_SEEN_SHARE = 0.02
"""A point is seen in the other image if its depth there agrees with the other map to this share."""


def has_four_maps(truth: SequenceTruth) -> bool:
    """Whether `pair_truth` has an answer for frames of this sequence."""
    known = truth.depth is not None and truth.cam2world is not None and truth.intrinsics is not None
    return known or truth.four_maps is not None


def pair_truth(truth: SequenceTruth, first: int, second: int) -> PairTruth:
    """Truth of two frames (B = 1), float32, in the first camera's frame; `has_four_maps` must hold."""
    if truth.four_maps is not None:
        return truth.four_maps(first, second)
    assert truth.cam2world is not None
    assert truth.intrinsics is not None
    frames = (first, second)
    K = torch.from_numpy(truth.intrinsics[list(frames)])
    cam2world = torch.from_numpy(truth.cam2world[list(frames)])
    depth = torch.from_numpy(np.stack([_capped(truth, t) for t in frames])).double()
    world = transform_map(cam2world, unproject(depth, K))
    both = [_at_both_times(truth, frames, view, world[view], depth[view] > 0) for view in (0, 1)]
    points = torch.stack([p for p, _ in both])
    valid = torch.stack([v for _, v in both])
    seen = torch.stack((points[0, 1], points[1, 0]))
    flow, visible = _into_other(
        seen, torch.stack((valid[0, 1], valid[1, 0])), cam2world.flip(0), K.flip(0), depth
    )
    shift = (points[:, 0] - points[:, 1]).norm(dim=-1)
    first_from_world = invert(cam2world[0])
    return PairTruth(
        images=torch.from_numpy(np.stack([truth.images[t] for t in frames]))
        .permute(0, 3, 1, 2)[None]
        .float()
        / 255,
        points=(transform_map(first_from_world, points) * valid[..., None])[None].float(),
        valid=valid[None],
        moving=((shift > MOVING_SHARE * depth) & valid.all(1))[None],
        visible=visible[None],
        flow=flow[None].float(),
        intrinsics=K[None].float(),
        cam2_from_cam1=(invert(cam2world[1]) @ cam2world[0])[None].float(),
        supervision=torch.tensor([_supervision(truth)]),
    )


def _capped(truth: SequenceTruth, frame: int) -> np.ndarray:
    assert truth.depth is not None
    depth = truth.depth[frame]
    return np.where(depth < truth.max_depth, depth, 0)


def _supervision(truth: SequenceTruth) -> int:
    if truth.static:
        return 1
    return 2 if truth.object_poses is None and truth.tracks is None else 0


def _at_both_times(
    truth: SequenceTruth, frames: tuple[int, int], view: int, world: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """World points (2, H, W, 3) of a view's pixels at both times, and where they are known (2, H, W)."""
    own, other = frames[view], frames[1 - view]
    if truth.static:
        moved, known = world, valid
    elif truth.object_ids is not None and truth.object_poses is not None:
        moved, known = (
            _by_objects(truth.object_ids[own], truth.object_poses, own, other, world),
            valid,
        )
    elif truth.tracks is not None:
        moved, known = _by_tracks(truth, own, other, world)
        known = known & valid
    else:
        moved, known = world, torch.zeros_like(valid)
    order = (0, 1) if view == 0 else (1, 0)
    both = ((world, valid), (moved, known))
    return torch.stack([both[k][0] for k in order]), torch.stack([both[k][1] for k in order])


def _by_objects(ids: np.ndarray, poses: np.ndarray, own: int, other: int, world: Tensor) -> Tensor:
    still = np.eye(4)[None]
    motions = np.concatenate((poses[other] @ np.linalg.inv(poses[own]), still))
    per_pixel = torch.from_numpy(motions)[torch.from_numpy(ids).long().flatten()]
    return transform(per_pixel, world.reshape(-1, 1, 3)).reshape(world.shape)


def _by_tracks(truth: SequenceTruth, own: int, other: int, world: Tensor) -> tuple[Tensor, Tensor]:
    """The displacement of each track that is seen in `own`, given to the pixel it falls on."""
    tracks = truth.tracks
    assert tracks is not None
    height, width = world.shape[:2]
    usable = tracks.visible[own] & tracks.valid[own] & tracks.valid[other]
    pixel = np.round(np.where(usable[:, None], tracks.pixels[own], -1)).astype(np.int64)
    usable &= (pixel >= 0).all(-1) & (pixel < (width, height)).all(-1)
    x, y = pixel[usable].T
    moved, known = world.clone(), torch.zeros((height, width), dtype=torch.bool)
    moved[y, x] += torch.from_numpy(tracks.points[other, usable] - tracks.points[own, usable])
    known[y, x] = True
    return moved, known


def _into_other(
    world: Tensor, valid: Tensor, cam2world: Tensor, K: Tensor, depth: Tensor
) -> tuple[Tensor, Tensor]:
    """Flow (2, H, W, 2) of moved world points into the other cameras, and whether they are seen there."""
    height, width = valid.shape[1:]
    seen = transform_map(invert(cam2world), world)
    target = project_map(seen, K)
    grid = pixel_grid(height, width, dtype=torch.float64)
    limit = FLOW_LIMIT * max(height, width)
    flow = torch.where(valid[..., None], target - grid, 0.0).clamp(-limit, limit)
    nearest = target.round().long()
    inside = (nearest >= 0).all(-1) & (nearest[..., 0] < width) & (nearest[..., 1] < height)
    index = nearest[..., 1].clamp(0, height - 1) * width + nearest[..., 0].clamp(0, width - 1)
    there = depth.flip(0).flatten(1).gather(1, index.flatten(1)).view_as(seen[..., 2])
    agrees = (seen[..., 2] - there).abs() < _SEEN_SHARE * there
    return flow, valid & inside & (seen[..., 2] > 0) & agrees

"""What a pair's dynamic point maps say: depth, focal length, relative camera, scene flow, optical flow, motion.

`PairPrediction` in, `PairReduction` out, batched over pairs, on the prediction's device (paper, section 3.1).
Everything stays in the pass's own scale; frames and worlds are the alignment's business.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dpm_cli.errors import DegenerateGeometryError
from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, project_map, rays
from dpm_cli.geometry.focal import estimate_focal
from dpm_cli.geometry.motion import motion_score
from dpm_cli.geometry.pnp import PnpFit, solve_pnp
from dpm_cli.geometry.procrustes import RobustFit, fit_robust
from dpm_cli.geometry.rigid import transform_map
from dpm_cli.structures import PairPrediction

_FOCAL_POINTS, _POSE_POINTS = 4096, 16384
"""Points of the grids that focal length and pose are fitted on, about."""
_TILES = (6, 8)
"""Tiles (rows, columns) within which noise may be correlated."""
_MIN_SHARE = 0.01
"""A pair with less than this share of the grid valid has no pose."""


@dataclass(frozen=True, eq=False)
class PairReduction:
    """Reductions of B directed pairs; [:, 0] is view 1 (image 1), [:, 1] view 2. Lengths are in pass units."""

    depth: Tensor
    """(B, 2, H, W) z of each view's points at its own time in its own camera."""
    confidence: Tensor
    """(B, 2, H, W) of those points."""
    valid: Tensor
    """(B, 2, H, W) bool."""
    cam2_from_cam1: Tensor
    """(B, 4, 4) float64."""
    pose_covariance: Tensor
    """(B, 6, 6) float64 of the twist (translation, rotation in radians) that acts on cam2_from_cam1 from the left."""
    pose_inliers: Tensor
    """(B,) share of the points that the pose explains, 0..1; 0 where there was nothing to fit."""
    twist_per_log_focal: Tensor
    """(B, 6) change of the pose per unit of log focal length, for a later correction of the focal length."""
    focal_px: Tensor
    """(B, 2) float64 along x, given or estimated."""
    focal_sigma_log: Tensor
    """(B,) of log focal of view 1; 0 where it was given."""
    scene_flow: Tensor
    """(B, 2, H, W, 3) P_1(t_2) - P_1(t_1) and P_2(t_1) - P_2(t_2), in camera 1's frame."""
    flow: Tensor
    """(B, 2, H, W, 2) pixels, image 1 to 2 and 2 to 1, also of points that get hidden."""
    flow_visible: Tensor
    """(B, 2, H, W) bool: lands inside the other image and is not judged hidden."""
    motion: Tensor
    """(B, 2, H, W) score 0..1 that the pixel moves by itself."""
    status: tuple[str, ...]
    """Word per pair, as the predictor said; `empty` where nothing was valid."""


def reduce_pair(
    prediction: PairPrediction,
    intrinsics_1: Tensor | None = None,
    intrinsics_2: Tensor | None = None,
) -> PairReduction:
    """All reductions of a batch of pairs.

    Args:
        prediction: four maps a pair.
        intrinsics_1: (3, 3) or (B, 3, 3) of image 1; None: focal length estimated, principal point the centre.
        intrinsics_2: the same for image 2; None takes image 1's.
    """
    height, width = prediction.points.shape[-3:-1]
    points, finite = _finite(prediction.points.float())
    own, confidence = _own_time(points), _own_time(prediction.confidence).float()
    valid = _valid(prediction, own, confidence) & finite
    grids = [_Grid.make(height, width, n, points.device) for n in (_FOCAL_POINTS, _POSE_POINTS)]
    usable = valid[:, :, grids[0].rows, grids[0].cols].float().mean((2, 3)).amin(1) >= _MIN_SHARE
    weights = [
        _weights(g.take(confidence[:, v]), g.take(valid[:, v]), usable) for v, g in enumerate(grids)
    ]
    K1, sigma_log = _intrinsics(
        intrinsics_1, own[:, 0], weights[0], usable, grids[0], (height, width)
    )
    K2 = K1 if intrinsics_2 is None else _batch(intrinsics_2, points)
    fit = _pose(own[:, 1], weights[1], usable, grids[1], K2)
    own2 = transform_map(fit.cam_from_points.float(), own[:, 1])
    depth = torch.stack((own[..., 0, :, :, 2], own2[..., 2]), 1)
    valid = valid & (depth > 0) & usable[:, None, None, None]
    landing, landing_depth = _landing(points, fit.cam_from_points.float(), K1.float(), K2.float())
    if prediction.flow is None:
        flow = landing - pixel_grid(height, width, device=points.device)
    else:
        flow = prediction.flow.float()
    focal = torch.stack((K1[:, 0, 0], K2[:, 0, 0]), 1)
    return PairReduction(
        depth=torch.where(valid, depth, torch.ones_like(depth)),
        confidence=torch.where(valid, confidence, torch.zeros_like(confidence)),
        valid=valid,
        cam2_from_cam1=fit.cam_from_points,
        pose_covariance=fit.covariance,
        pose_inliers=torch.where(usable, fit.inliers, torch.zeros_like(fit.inliers)),
        twist_per_log_focal=fit.twist_per_log_focal,
        focal_px=focal,
        focal_sigma_log=sigma_log,
        scene_flow=_other_time(points) - own,
        flow=flow,
        flow_visible=_visible(flow, landing_depth, depth, valid),
        motion=_motion(prediction, points, valid, focal),
        status=_status(prediction, usable),
    )


def object_pose(start: Tensor, end: Tensor, mask: Tensor, confidence: Tensor) -> RobustFit:
    """Rigid motion (4, 4) of one object between two times: robust Procrustes P(t_1)[mask] to P(t_2)[mask].

    Args:
        start: (H, W, 3).
        end: (H, W, 3).
        mask: (H, W) bool, pixels of the object.
        confidence: (H, W).

    Raises:
        DegenerateGeometryError: the mask holds fewer than three points, or all on a line.
    """
    if not bool(mask.any()):
        raise DegenerateGeometryError("object pose: the mask is empty")
    return fit_robust(start[mask].double(), end[mask].double(), confidence[mask].double() ** 2)


@dataclass(frozen=True, eq=False)
class _Grid:
    """A regular subset of the pixels."""

    rows: slice
    cols: slice
    pixels: Tensor
    tiles: Tensor

    @classmethod
    def make(cls, height: int, width: int, count: int, device: torch.device) -> "_Grid":
        stride = max(1, round((height * width / count) ** 0.5))
        rows, cols = slice(stride // 2, None, stride), slice(stride // 2, None, stride)
        pixels = pixel_grid(height, width, dtype=torch.float64, device=device)[rows, cols]
        tile = (pixels[..., 1] * _TILES[0] / height).long() * _TILES[1] + (
            pixels[..., 0] * _TILES[1] / width
        ).long()
        return cls(rows, cols, pixels.flatten(0, 1), tile.flatten())

    def take(self, maps: Tensor) -> Tensor:
        """(B, H, W, ...) to (B, N, ...)."""
        return maps[:, self.rows, self.cols].flatten(1, 2)


def _finite(points: Tensor) -> tuple[Tensor, Tensor]:
    """The points with ones where they are no numbers, and whether both times of a pixel (B, 2, H, W) are numbers."""
    if bool(torch.stack(points.aminmax()).isfinite().all()):
        return points, torch.ones_like(points[:, :, 0, ..., 0], dtype=torch.bool)
    finite = points.isfinite().all(-1, keepdim=True)
    return torch.where(finite, points, 1.0), finite[..., 0].all(2)


def _own_time(maps: Tensor) -> Tensor:
    """Of maps (B, view, time, ...) each view's at its own time, (B, 2, ...)."""
    return torch.stack((maps[:, 0, 0], maps[:, 1, 1]), 1)


def _other_time(maps: Tensor) -> Tensor:
    """Of maps (B, view, time, ...) each view's at the other's time, (B, 2, ...)."""
    return torch.stack((maps[:, 0, 1], maps[:, 1, 0]), 1)


def _valid(prediction: PairPrediction, own: Tensor, confidence: Tensor) -> Tensor:
    valid = (confidence > 0) & torch.stack((own[:, 0, ..., 2] > 0, own[:, 1].norm(dim=-1) > 0), 1)
    return valid if prediction.valid_logit is None else valid & (prediction.valid_logit > 0)


def _weights(confidence: Tensor, valid: Tensor, usable: Tensor) -> Tensor:
    """Inverse variances (B, N) from confidence, within a factor of ten of the median's either way."""
    typical = torch.where(valid, confidence, torch.nan).nanmedian(-1)[0].nan_to_num(1.0)[:, None]
    weights = torch.where(valid, (confidence / typical.clamp_min(1e-9)) ** 2, 0.0)
    weights = torch.where(valid, weights.clamp(0.1, 10.0), weights)
    return torch.where(usable[:, None], weights, torch.ones_like(weights)).double()


def _batch(K: Tensor, like: Tensor) -> Tensor:
    return K.to(like.device, torch.float64).expand(len(like), 3, 3)


def _stand_in(points: Tensor, usable: Tensor, grid: _Grid) -> Tensor:
    """Points of the grid (B, N, 3) float64 of `points` (B, H, W, 3); unusable pairs get a plane, solvable."""
    plane = torch.cat((grid.pixels - grid.pixels.mean(0), torch.ones_like(grid.pixels[:, :1])), -1)
    return torch.where(usable[:, None, None], grid.take(points).double(), plane)


def _intrinsics(
    given: Tensor | None,
    own: Tensor,
    weights: Tensor,
    usable: Tensor,
    grid: _Grid,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """K of image 1 (B, 3, 3) and the deviation of its log focal (B,)."""
    if given is not None:
        return _batch(given, own), own.new_zeros(len(own), dtype=torch.float64)
    height, width = size
    centre = torch.tensor(
        ((width - 1) / 2, (height - 1) / 2), dtype=torch.float64, device=own.device
    )
    fit = estimate_focal(
        _stand_in(own, usable, grid), grid.pixels, centre, weights, blocks=grid.tiles
    )
    focal = torch.where(usable, fit.focal_px, torch.full_like(fit.focal_px, float(max(size))))
    sigma = torch.where(usable, fit.sigma_log, torch.ones_like(fit.sigma_log))
    return intrinsics_matrix(focal, height, width), sigma


def _pose(own: Tensor, weights: Tensor, usable: Tensor, grid: _Grid, K: Tensor) -> PnpFit:
    """Pose fit; unusable pairs get the identity with no certainty."""
    dummy = rays(grid.pixels.expand(len(K), -1, 2), K)
    points = torch.where(usable[:, None, None], grid.take(own).double(), dummy)
    fit = solve_pnp(points, grid.pixels, K, weights, blocks=grid.tiles)
    unknown = torch.eye(6, dtype=K.dtype, device=K.device) * 1e6
    return replace(fit, covariance=torch.where(usable[:, None, None], fit.covariance, unknown))


def _landing(points: Tensor, T: Tensor, K1: Tensor, K2: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel (B, 2, H, W, 2) in the other image and depth (B, 2, H, W) there of each view's points at the other time."""
    moved = (transform_map(T, points[:, 0, 1]), points[:, 1, 0])
    pixels = [project_map(p, K) for p, K in zip(moved, (K2, K1), strict=True)]
    return torch.stack(pixels, 1), torch.stack([p[..., 2] for p in moved], 1)


def _visible(flow: Tensor, landing_depth: Tensor, depth: Tensor, valid: Tensor) -> Tensor:
    """(B, 2, H, W): inside the other image and not behind what that image sees there.

    The farthest depth of the 3x3 pixels around the landing counts, and the tolerance follows the pair's own noise.
    """
    height, width = depth.shape[-2:]
    x, y = (pixel_grid(height, width, device=flow.device) + flow).unbind(-1)
    column, row = x.round().clamp(0, width - 1), y.round().clamp(0, height - 1)
    # Half a pixel outside still rounds to a pixel inside.
    inside = ((x - column).abs() <= 0.5) & ((y - row).abs() <= 0.5) & (landing_depth > 0) & valid
    index = row.long() * width + column.long()
    farthest = _farthest_around(torch.where(valid, depth, torch.inf).flip(1)).flatten(2)
    there = farthest.gather(2, index.flatten(2)).unflatten(2, (height, width))
    log_ratio = (landing_depth.clamp_min(1e-9) / there).log()
    thin = (slice(None), slice(None), slice(None, None, 2), slice(None, None, 2))
    known = (inside & there.isfinite())[thin]
    typical = torch.where(known, log_ratio[thin].abs(), torch.nan).flatten(2).nanmedian(-1)[0]
    deviation = typical.nan_to_num(0.0) * 1.4826
    return inside & (log_ratio < (0.005 + 3 * deviation).clamp_max(0.3)[..., None, None])


def _farthest_around(depth: Tensor) -> Tensor:
    """Largest of the 3x3 values around each pixel of (..., H, W): rows, then columns; pooling is five times as slow."""
    farthest = depth
    for axis in (-2, -1):
        around, most = farthest, depth.shape[axis] - 1
        farthest = around.clone()
        for here, other in ((1, 0), (0, 1)):
            part = farthest.narrow(axis, here, most)
            torch.maximum(part, around.narrow(axis, other, most), out=part)
    return farthest


def _motion(prediction: PairPrediction, points: Tensor, valid: Tensor, focal: Tensor) -> Tensor:
    if prediction.motion_logit is not None:
        return torch.where(valid, prediction.motion_logit.float().sigmoid(), 0.0)
    confidence = prediction.confidence.float().amin(2)
    return motion_score(_own_time(points), _other_time(points), confidence, valid, focal)


def _status(prediction: PairPrediction, usable: Tensor) -> tuple[str, ...]:
    said = prediction.status or ("ok",) * len(usable)
    return tuple(s if u else "empty" for s, u in zip(said, usable.tolist(), strict=True))

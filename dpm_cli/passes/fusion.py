"""Passes become frames: every pass that sees a frame, scaled by the alignment, votes for its depth, motion and flow.

Depth is the confidence-weighted median in log depth (a mean would make flying pixels between near and far).
Scene flow and optical flow come from the passes of neighbouring frames; scene flow is rescaled with its pixel's
fused depth, so that it stays attached to the fused points. Motion is the larger score of all passes, and what does not
move by it has no scene flow: the rest is noise of the maps (`moving_share`).
"""

from dataclasses import dataclass

import numpy as np

from dpm_cli.align import DepthCorrection, fuse_log_depth, views_of_frame
from dpm_cli.passes.store import DensePass, PassStore
from dpm_cli.prior.combine import combine
from dpm_cli.prior.witness import WitnessFrame
from dpm_cli.sequence import FrameResult
from dpm_cli.structures import Cameras

_SURELY_SOMETHING = 20.0
"""Confidence of the passes' depth at which a prior's word that there is sky is not believed."""


@dataclass(frozen=True, eq=False)
class AlignedPasses:
    """The passes of a clip with what the alignment found."""

    store: PassStore
    pairs: np.ndarray
    """(E, 2) int64 frame numbers."""
    log_scale: np.ndarray
    """(E, 2) float64, log of world units per pass unit for the depth of each view."""
    usable: np.ndarray
    """(E,) bool, False for passes the alignment rejected."""
    cameras: Cameras
    correction: DepthCorrection | None = None
    """What bundle adjustment changed of the frames' depth."""
    lateral_scale: float = 1.0
    """Focal length of the passes over that of the cameras: so much farther moves what moves sideways by some pixels."""

    def of_frame(self, t: int) -> list[tuple[int, int]]:
        """(pass, view) of every usable pass that sees frame `t`; all of them where none is usable."""
        return [(int(e), int(v)) for e, v in views_of_frame(self.pairs, self.usable, t)]


@dataclass(frozen=True, eq=False)
class _Motion:
    """Scene flow (H, W, 3) in the world, optical flow (H, W, 2), its validity (H, W)."""

    scene_flow: np.ndarray
    flow: np.ndarray
    flow_valid: np.ndarray


def fuse_frame(
    t: int,
    image: np.ndarray,
    passes: AlignedPasses,
    moving_mask: np.ndarray | None = None,
    prior: WitnessFrame | None = None,
) -> FrameResult:
    """Everything known of frame `t`.

    Args:
        t: frame number.
        image: (H, W, 3) uint8 working image.
        passes: the aligned passes.
        moving_mask: (H, W) bool of the user, replaces the motion score.
        prior: depth of the frame by its picture alone, in the scale of the passes.
    """
    seen = passes.of_frame(t)
    dense = {e: passes.store.read_dense(e) for e, _ in seen}
    log_depth = np.stack([dense[e].log_depth[v] + passes.log_scale[e, v] for e, v in seen])
    valid = np.stack([dense[e].valid[v] for e, v in seen])
    confidence = np.stack([dense[e].confidence[v] for e, v in seen])
    fused, fused_confidence = fuse_log_depth(
        log_depth, np.where(valid, confidence, confidence * 1e-3)
    )
    if passes.correction is not None:
        log_depth_factor, log_confidence_factor = passes.correction.at_size(t, fused.shape)
        fused = fused + log_depth_factor
        fused_confidence = fused_confidence * np.exp(log_confidence_factor)
    is_valid = (valid * confidence).sum(0) >= 0.5 * confidence.sum(0)
    if prior is not None:
        is_valid &= ~(prior.sky & (fused_confidence < _SURELY_SOMETHING))
        fused, fused_confidence = combine(fused, fused_confidence, prior.log_depth, prior.sigma)
    depth = np.exp(np.clip(fused, -20, 20)).astype(np.float32)
    score = np.max([dense[e].motion[v] for e, v in seen], axis=0)
    dynamic = (score if moving_mask is None else moving_mask).astype(np.float32)
    forward = _motion(t, t + 1, depth, dynamic, passes)
    backward = _motion(t, t - 1, depth, dynamic, passes)
    return FrameResult(
        image=image,
        depth=depth,
        confidence=fused_confidence.astype(np.float32),
        valid=is_valid,
        dynamic=dynamic,
        scene_flow_fwd=forward.scene_flow if forward else None,
        flow_fwd=forward.flow if forward else None,
        flow_fwd_valid=forward.flow_valid if forward else None,
        scene_flow_bwd=backward.scene_flow if backward else None,
        flow_bwd=backward.flow if backward else None,
        flow_bwd_valid=backward.flow_valid if backward else None,
    )


def moving_share(dynamic: np.ndarray) -> np.ndarray:
    """Share of the scene flow that is kept at motion scores (H, W): all where the mask says moving, none at 0.

    Chosen on the demo clip; on the three test clips of the quick suite the error of all scene flow falls by 3 %
    (`geometric`) and 26 % (`dpm-mini`), that of movers changes by less than half a percent.
    """
    return np.clip(2 * dynamic, 0, 1) ** 2


def _motion(
    t: int, other: int, depth: np.ndarray, dynamic: np.ndarray, passes: AlignedPasses
) -> _Motion | None:
    """Motion from frame `t` to its neighbour; zero and not valid across a cut, None beyond the clip."""
    if not 0 <= other < len(passes.cameras):
        return None
    pair = (min(t, other), max(t, other))
    found = np.flatnonzero((passes.pairs == pair).all(1))
    if not len(found):
        zeros = np.zeros((*depth.shape, 3), np.float32)
        return _Motion(zeros, zeros[..., :2], np.zeros(depth.shape, bool))
    number, view = int(found[0]), 0 if t < other else 1
    dense: DensePass = passes.store.read_dense(number)
    assert dense.scene_flow is not None
    assert dense.flow is not None
    assert dense.flow_visible is not None
    own_scale = depth / np.exp(np.clip(dense.log_depth[view], -20, 20))
    kept = moving_share(dynamic) * own_scale
    world_from_cam1 = passes.cameras.cam2world[pair[0], :3, :3]
    wider = np.array((passes.lateral_scale, passes.lateral_scale, 1.0), np.float32)
    scene_flow = (dense.scene_flow[view] * wider * kept[..., None]) @ world_from_cam1.T
    return _Motion(
        scene_flow.astype(np.float32), dense.flow[view].astype(np.float32), dense.flow_visible[view]
    )


def flow_residual_px(
    frame: FrameResult, next_frame: np.ndarray, K: np.ndarray, points: np.ndarray
) -> float:
    """Median distance in pixels between project(points + scene flow, next camera) and pixel + flow.

    Args:
        frame: the frame, with forward motion.
        next_frame: (4, 4) cam2world of the next frame.
        K: (3, 3) of the next frame.
        points: (H, W, 3) world points of the frame.
    """
    assert frame.scene_flow_fwd is not None
    assert frame.flow_fwd is not None
    moved = points + frame.scene_flow_fwd
    camera = (moved - next_frame[:3, 3]) @ next_frame[:3, :3]
    z = np.maximum(camera[..., 2:], 1e-6)
    pixels = (camera[..., :2] / z) * K[[0, 1], [0, 1]] + K[:2, 2]
    y, x = np.mgrid[: points.shape[0], : points.shape[1]]
    target = np.stack((x, y), -1) + frame.flow_fwd
    ok = frame.valid & (frame.flow_fwd_valid if frame.flow_fwd_valid is not None else True)
    return float(np.median(np.linalg.norm(pixels - target, axis=-1)[ok])) if ok.any() else 0.0

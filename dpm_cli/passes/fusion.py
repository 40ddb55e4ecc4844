"""Passes become frames: every pass that sees a frame, scaled by the alignment, votes for its depth and flow.

Depth is the confidence-weighted median in log depth (a mean would make flying pixels between near and far).
Scene flow and optical flow come from the passes of neighbouring frames; scene flow starts at the fused points and ends
on the ray that the optical flow leads to.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.align import DepthCorrection, fuse_log_depth, views_of_frame
from dpm_cli.motion.look import Look, planes
from dpm_cli.motion.scene_flow import scene_flow_on_ray
from dpm_cli.passes.store import PassStore
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

    reach: int | None = None
    """Passes of frames that are farther apart serve the cameras alone: what stood still then may have moved since."""

    def of_frame(self, t: int) -> list[tuple[int, int]]:
        """(pass, view) of every usable pass within reach that sees frame `t`; all of them where none is usable."""
        near = self.reach is None or np.abs(np.diff(self.pairs, axis=1))[:, 0] <= self.reach
        return [(int(e), int(v)) for e, v in views_of_frame(self.pairs, self.usable & near, t)]


@dataclass(frozen=True, eq=False)
class FusedDepth:
    """What the passes say of a frame's depth together."""

    log_depth: np.ndarray
    """(H, W) float32, z in the frame's camera, log of world units."""
    confidence: np.ndarray
    """(H, W) float32, 1 / expected relative error."""
    valid: np.ndarray
    """(H, W) bool."""
    opinion: np.ndarray
    """(H, W) float32 0..1, middle motion score of the passes."""


@dataclass(frozen=True, eq=False)
class _Motion:
    """Scene flow (H, W, 3) in the world, optical flow (H, W, 2), its validity (H, W)."""

    scene_flow: np.ndarray
    flow: np.ndarray
    flow_valid: np.ndarray


def fuse_depth(t: int, passes: AlignedPasses, prior: WitnessFrame | None = None) -> FusedDepth:
    """Depth of frame `t` and what the predictor thinks of its motion.

    `prior` is its depth by its picture alone, in the scale of the passes.
    """
    seen = passes.of_frame(t)
    views = [passes.store.read_view(e, v) for e, v in seen]
    scale = passes.log_scale.astype(np.float32)
    log_depth = np.stack([d.log_depth + scale[s] for d, s in zip(views, seen, strict=True)])
    valid = np.stack([d.valid for d in views])
    confidence = np.stack([d.confidence for d in views])
    fused, fused_confidence = fuse_log_depth(
        log_depth, np.where(valid, confidence, confidence * 1e-3)
    )
    if passes.correction is not None:
        log_depth_factor, log_confidence_factor = passes.correction.at_size(t, fused.shape)
        fused = fused + log_depth_factor
        fused_confidence = fused_confidence * np.exp(log_confidence_factor)
    is_valid = valid.any(0) & ((valid * confidence).sum(0) >= 0.5 * confidence.sum(0))
    if prior is not None:
        is_valid &= ~(prior.sky & (fused_confidence < _SURELY_SOMETHING))
        fused, fused_confidence = combine(fused, fused_confidence, prior.log_depth, prior.sigma)
    return FusedDepth(
        log_depth=np.clip(fused, -20, 20).astype(np.float32),
        confidence=fused_confidence.astype(np.float32),
        valid=is_valid,
        opinion=np.median([d.motion for d in views], axis=0).astype(np.float32),
    )


def looks_at(t: int, passes: AlignedPasses, farthest: int | None = None) -> list[Look]:
    """Frame `t` as every usable pass shows it, those of at most `farthest` frames if given; none without a camera."""
    cameras = passes.cameras
    found = []
    for e, v in passes.of_frame(t):
        other = int(passes.pairs[e, 1 - v])
        stride = abs(other - t)
        known = passes.usable[e] and cameras.registered[t] and cameras.registered[other]
        if not stride or not known or (farthest is not None and stride > farthest):
            continue
        flow = passes.store.read_flow(e)
        found.append(look_of(t, other, flow[v], flow[1 - v], cameras))
    return found


def fuse_frame(
    t: int, image: np.ndarray, fused: FusedDepth, dynamic: np.ndarray, passes: AlignedPasses
) -> FrameResult:
    """Everything known of frame `t`, with the scene flow that every pixel would have if it moved.

    Args:
        t: frame number.
        image: (H, W, 3) uint8 working image.
        fused: its depth.
        dynamic: (H, W) float32, its motion score.
        passes: the aligned passes.
    """
    forward = _motion(t, t + 1, fused, passes)
    backward = _motion(t, t - 1, fused, passes)
    return FrameResult(
        image=image,
        depth=np.exp(fused.log_depth),
        confidence=fused.confidence,
        valid=fused.valid,
        dynamic=dynamic,
        scene_flow_fwd=forward.scene_flow if forward else None,
        flow_fwd=forward.flow if forward else None,
        flow_fwd_valid=forward.flow_valid if forward else None,
        scene_flow_bwd=backward.scene_flow if backward else None,
        flow_bwd=backward.flow if backward else None,
        flow_bwd_valid=backward.flow_valid if backward else None,
    )


def _motion(t: int, other: int, fused: FusedDepth, passes: AlignedPasses) -> _Motion | None:
    """Motion from frame `t` to its neighbour; zero and not valid across a cut, None beyond the clip."""
    if not 0 <= other < len(passes.cameras):
        return None
    pair = (min(t, other), max(t, other))
    found = np.flatnonzero((passes.pairs == pair).all(1))
    shape = fused.log_depth.shape
    if not len(found):
        zeros = np.zeros((*shape, 3), np.float32)
        return _Motion(zeros, zeros[..., :2], np.zeros(shape, bool))
    number, view = int(found[0]), 0 if t < other else 1
    said = passes.store.read_step(number, view)
    own_scale = np.exp(fused.log_depth - np.clip(said.log_depth, -20, 20))
    world_from_own = passes.cameras.cam2world[t, :3, :3]
    wider = np.diag((passes.lateral_scale, passes.lateral_scale, 1.0))
    own_from_pass = world_from_own.T @ passes.cameras.cam2world[pair[0], :3, :3] @ wider
    told = planes(cv2.transform(said.scene_flow, own_from_pass)) * own_scale
    look = look_of(t, other, said.flow, said.back, passes.cameras)
    found = scene_flow_on_ray(fused.log_depth, fused.confidence, look, told)
    return _Motion(cv2.transform(cv2.merge(list(found)), world_from_own), said.flow, said.visible)


def look_of(t: int, other: int, flow: np.ndarray, back: np.ndarray, cameras: Cameras) -> Look:
    """Frame `t` seen in frame `other` by flow and back flow (H, W, 2) and the cameras."""
    return Look(
        other=other,
        stride=abs(other - t),
        flow=flow,
        back=back,
        other_from_own=np.linalg.inv(cameras.cam2world[other]) @ cameras.cam2world[t],
        K_own=cameras.intrinsics[t],
        K_other=cameras.intrinsics[other],
    )

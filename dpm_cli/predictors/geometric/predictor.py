"""The `geometric` predictor: dense flow, two-view geometry, completion; it follows `predictors.protocol`.

    images -> structure tensor, links                 encode, once a frame
    flow both ways -> pose -> scene -> four maps      predict, once a pair

It needs a focal length: given, or found over the clip by `prepare`, else the prior.
"""

import numpy as np
import torch
from torch import Tensor

from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.camera import camera_focal
from dpm_cli.focal.clip import PRIOR_FOV_DEG, find_focal
from dpm_cli.geometry import camera, rigid
from dpm_cli.matching.dense_match import DenseMatch, dense_match, structure_tensor
from dpm_cli.matching.matcher import Matcher
from dpm_cli.predictors.geometric.complete import edge_links
from dpm_cli.predictors.geometric.flow import fill_flow
from dpm_cli.predictors.geometric.movers import nearest_on_ray
from dpm_cli.predictors.geometric.scene import PairScene, reconstruct
from dpm_cli.predictors.protocol import Features, PredictorInfo, frame_rows
from dpm_cli.structures import Clip, PairPrediction
from dpm_cli.twoview import pose
from dpm_cli.twoview.matches import Matches
from dpm_cli.twoview.triangulate import centred_rays

EDGE_CONTRAST = 20.0 / 255
"""Colour difference between neighbours that halves their link."""
_LUMA = (0.299, 0.587, 0.114)


class GeometricPredictor:
    """Dynamic point maps by classical two-view geometry."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.matcher = Matcher(torch.get_num_threads())
        self._K: np.ndarray | None = None

    @property
    def info(self) -> PredictorInfo:
        """Name, licence, working size."""
        return PredictorInfo(
            name="geometric",
            weights_sha256=None,
            weights_licence="none",
            multiple=2,
            default_long_side=512,
            pair_bytes_per_pixel=750,
        )

    def prepare(self, clip: Clip, intrinsics: np.ndarray | None) -> FocalEstimate | None:
        """Fix the intrinsics: those given (their median if one a frame), or found from the clip's geometry."""
        self.matcher.begin(clip.frames)
        if intrinsics is not None:
            self._K = np.median(np.reshape(intrinsics, (-1, 3, 3)), axis=0)
            return None
        found = find_focal(clip.frames, clip.size, self.matcher, camera_word=camera_focal(clip))
        focal_px = torch.tensor(found.focal_px, dtype=torch.float64)
        self._K = camera.intrinsics_matrix(focal_px, *clip.size).numpy()
        return found

    def encode(self, images: Tensor) -> Features:
        """Images (B, 3, H, W), their structure tensor (B, 3, H, W) and links (B, 2, H, W)."""
        luma = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
        grey = (torch.einsum("bchw,c->bhw", images, luma) * 255).round().clamp(0, 255)
        return {
            "image": images.float(),
            "tensor": structure_tensor(grey.float()),
            "links": torch.stack(edge_links(images.float(), EDGE_CONTRAST), 1),
        }

    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """Four dynamic point maps a pair, with flow, motion, validity and status."""
        flow = self.matcher.flows(
            features_1["image"], features_2["image"], frame_rows(features_1, features_2)
        )
        tensors, links = (
            torch.stack((features_1[k], features_2[k]), 1) for k in ("tensor", "links")
        )
        match = dense_match(flow, tensors)
        batch, _, height, width = match.error.shape
        focal_value, centre = self._camera(height, width)
        focal_px = torch.full((batch,), focal_value, dtype=torch.float64, device=centre.device)
        pair_pose = pose.estimate(
            Matches.of_flow(match.flow, match.covariance, match.consistent, centre), focal_px
        )
        scene = reconstruct(match, links, pair_pose, focal_px, centre)
        return _assemble(scene, match, pair_pose.status, focal_px, centre)

    def _camera(self, height: int, width: int) -> tuple[float, Tensor]:
        """Focal length in pixels and principal point (2,) at this size."""
        if self._K is None:
            focal_px, centre = (
                camera.focal_from_fov(PRIOR_FOV_DEG, width),
                ((width - 1) / 2, (height - 1) / 2),
            )
        else:
            focal_px = float(self._K[0, 0] + self._K[1, 1]) / 2
            centre = (self._K[0, 2], self._K[1, 2])
        return focal_px, torch.tensor(centre, dtype=torch.float64, device=self.device)


def _assemble(
    scene: PairScene,
    match: DenseMatch,
    status: tuple[str, ...],
    focal_px: Tensor,
    centre: Tensor,
) -> PairPrediction:
    """Scenes per view become maps in camera 1's frame."""
    height, width = match.error.shape[2:]
    focal = focal_px.float().repeat_interleave(2)
    rays = centred_rays(height, width, focal, centre.float())
    own = rays / scene.inverse_depth[..., None]
    other_from_this = rigid.rigid(scene.rotation, scene.translation)
    this_from_other = rigid.invert(other_from_this)
    flow = fill_flow(own, other_from_this, match, scene, focal, centre.float())
    target = torch.cat((rays[..., :2] + flow / focal[:, None, None, None], rays[..., 2:]), -1)
    moved = nearest_on_ray(
        own, this_from_other[:, :3, 3], target @ this_from_other[:, None, :3, :3].mT
    )
    step = torch.sigmoid(scene.motion_odds)[..., None] * (moved - own)
    own, other = own.unflatten(0, (-1, 2)), (own + step).unflatten(0, (-1, 2))
    view_1 = torch.stack((own[:, 0], other[:, 0]), 1)
    view_2 = torch.stack((other[:, 1], own[:, 1]), 1)
    view_2 = rigid.transform_map(this_from_other[0::2, None], view_2)
    return PairPrediction(
        points=torch.stack((view_1, view_2), 1),
        confidence=_confidence(scene, step),
        flow=flow.unflatten(0, (-1, 2)),
        motion_logit=scene.motion_odds.unflatten(0, (-1, 2)),
        valid_logit=scene.valid_odds.unflatten(0, (-1, 2)),
        status=status,
    )


def _confidence(scene: PairScene, step: Tensor) -> Tensor:
    """Confidence (B, 2, 2, H, W): a mover's place at the other time is as uncertain as its step is long."""
    sigma = scene.relative_sigma
    other = (sigma.square() + (step.norm(dim=-1) * scene.inverse_depth).square()).sqrt()
    now, later = (1 / x.unflatten(0, (-1, 2)) for x in (sigma, other))
    view_1 = torch.stack((now[:, 0], later[:, 0]), 1)
    view_2 = torch.stack((later[:, 1], now[:, 1]), 1)
    return torch.stack((view_1, view_2), 1)

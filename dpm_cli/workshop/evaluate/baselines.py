"""What a model must beat: predictors that know nothing, or half.

    constant-depth   a fronto-parallel wall, a still camera, nothing moves
    dis-flow         the same wall, but each point goes where DIS optical flow says
    static:MODEL     MODEL's geometry with its motion taken out: P(t_2) = P(t_1), what DUSt3R and MonST3R say

The wall stands at depth 1; the focal length is the one that `prepare` is given, else the longer image side.
"""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, rays
from dpm_cli.matching.dis import pair_flows
from dpm_cli.predictors import load_predictor
from dpm_cli.predictors.protocol import Features, Predictor, PredictorInfo
from dpm_cli.structures import Clip, PairPrediction

STATIC = "static:"


def load_model(
    name: str,
    *,
    weights: str | None = None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Predictor:
    """A predictor or a baseline by name.

    Raises:
        UsageError: no such name.
        WeightsError: the weights are missing or wrong.
    """
    if name == "constant-depth":
        return ConstantDepth()
    if name == "dis-flow":
        return DisFlow()
    if name.startswith(STATIC):
        base = load_model(name.removeprefix(STATIC), weights=weights, device=device, dtype=dtype)
        return StaticCopy(base)
    return load_predictor(name, weights=weights, device=device, dtype=dtype)


class ConstantDepth:
    """Every pixel at depth 1, whatever the time and the view."""

    name = "constant-depth"

    def __init__(self):
        self._K: Tensor | None = None

    @property
    def info(self) -> PredictorInfo:
        """No weights."""
        return PredictorInfo(
            name=self.name,
            weights_sha256=None,
            weights_licence="none",
            multiple=1,
            default_long_side=512,
        )

    def prepare(self, clip: Clip, intrinsics: np.ndarray | None) -> None:
        """Keep the intrinsics, if any."""
        K = None if intrinsics is None else torch.from_numpy(intrinsics).float()
        self._K = K if K is None or K.ndim == 2 else K[0]

    def encode(self, images: Tensor) -> Features:
        """The images themselves."""
        return {"images": images}

    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """The wall, four times."""
        images = features_1["images"]
        wall = self._wall(pixel_grid(*images.shape[-2:], device=images.device)[None])
        points = wall[:, None, None].expand(len(images), 2, 2, -1, -1, -1)
        return PairPrediction(
            points=points.contiguous(), confidence=torch.ones(points.shape[:-1]).to(images)
        )

    def _wall(self, pixels: Tensor) -> Tensor:
        """Points (B, H, W, 3) at depth 1 behind pixels (B, H, W, 2)."""
        height, width = pixels.shape[1:3]
        K = self._K
        if K is None:
            K = intrinsics_matrix(torch.tensor(float(max(height, width))), height, width)
        return rays(pixels.flatten(1, 2), K.to(pixels)).unflatten(1, (height, width))


class DisFlow(ConstantDepth):
    """The wall, painted with moving dots: a pixel's point goes to the pixel where DIS flow lands."""

    name = "dis-flow"

    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """P_1(t_2) and P_2(t_1) follow the flow."""
        images = features_1["images"]
        flow = pair_flows(images, features_2["images"])
        grid = pixel_grid(*images.shape[-2:], device=images.device)
        own = self._wall(grid[None]).expand(len(images), -1, -1, -1)
        forward, backward = (self._wall(grid + flow[:, v]) for v in (0, 1))
        points = torch.stack((torch.stack((own, forward), 1), torch.stack((backward, own), 1)), 1)
        return PairPrediction(points=points, confidence=torch.ones_like(points[..., 0]), flow=flow)


class StaticCopy:
    """Another predictor with everything standing still: each view's own-time map serves both times."""

    def __init__(self, base: Predictor):
        self.base = base

    @property
    def info(self) -> PredictorInfo:
        """The base's, under its own name."""
        return dataclasses.replace(self.base.info, name=STATIC + self.base.info.name)

    def prepare(self, clip: Clip, intrinsics: np.ndarray | None) -> None:
        """As the base."""
        self.base.prepare(clip, intrinsics)

    def encode(self, images: Tensor) -> Features:
        """As the base."""
        return self.base.encode(images)

    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """P_1(t_2) := P_1(t_1), P_2(t_1) := P_2(t_2); flow becomes the projection of these."""
        said = self.base.predict(features_1, features_2)
        points, confidence = said.points.clone(), said.confidence.clone()
        for maps in (points, confidence):
            maps[:, 0, 1], maps[:, 1, 0] = maps[:, 0, 0], maps[:, 1, 1]
        still = torch.full_like(confidence[:, :, 0], -10.0)
        return dataclasses.replace(
            said, points=points, confidence=confidence, flow=None, motion_logit=still
        )

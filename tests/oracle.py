"""A predictor that knows the truth: it proves everything behind the predictors, with exact maps or with stated noise.

Fed by anything that gives `PairTruth` for two frame numbers (a rendered clip). It recognises frames by their pixels, so
it runs through the engine like any other predictor.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dpm_cli.errors import InputError
from dpm_cli.geometry.rigid import invert, rigid, so3_exp, transform_map
from dpm_cli.predictors.protocol import Features, PredictorInfo
from dpm_cli.structures import Clip, PairPrediction, PairTruth

_EXACT_ERROR = 1e-4
"""Relative error that exact maps claim; confidence is its inverse."""


class PairSource(Protocol):
    """Exact truth of a clip."""

    def pair(self, i: int, j: int) -> PairTruth:
        """Truth of one directed pair (B = 1)."""
        ...


@dataclass(frozen=True)
class OracleNoise:
    """What is done to the exact maps."""

    independent: float = 0.0
    """Isotropic noise of every point of every map, relative to its distance."""
    smooth: float = 0.0
    """Smooth noise of depth along each view's own rays, relative, another field every pass and view."""
    wrong_share: float = 0.0
    """Share of the pairs whose second view is in a grossly wrong place."""
    log_scale: float = 0.7
    """Deviation of the log scale that each pass is given."""
    seed: int = 0


class OraclePredictor:
    """Answers with the truth of a clip."""

    info = PredictorInfo(
        name="oracle",
        weights_sha256=None,
        weights_licence="none",
        multiple=1,
        default_long_side=512,
    )

    def __init__(self, truth: PairSource, noise: OracleNoise | None = None):
        self.truth = truth
        self.noise = noise or OracleNoise()
        self._frame_of: dict[bytes, int] = {}

    def prepare(self, clip: Clip, intrinsics: np.ndarray | None) -> None:
        """Remember what each frame of the clip looks like; the truth is that of frames 0..T-1."""
        self._frame_of = {_digest(clip.frames.read([t])[0]): t for t in reversed(range(len(clip)))}

    def encode(self, images: Tensor) -> Features:
        """Frame numbers of images (B, 3, H, W); duplicates count as the first of them."""
        pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        try:
            frames = [self._frame_of[_digest(p)] for p in pixels]
        except KeyError:
            raise InputError(
                "oracle: an image is not a frame of the clip it was prepared for"
            ) from None
        return self.features(frames)

    def features(self, frames: Sequence[int]) -> Features:
        """Features of frames by number, without images."""
        return {"frame": torch.tensor(frames, dtype=torch.int64)}

    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """Maps of each pair, with this oracle's noise; equal for equal pairs and seed."""
        rows = zip(features_1["frame"].tolist(), features_2["frame"].tolist(), strict=True)
        answers = [self._answer(i, j) for i, j in rows]
        return PairPrediction(
            points=torch.cat([a.points for a in answers]),
            confidence=torch.cat([a.confidence for a in answers]),
            valid_logit=torch.cat([a.valid_logit for a in answers if a.valid_logit is not None]),
        )

    def is_wrong(self, i: int, j: int) -> bool:
        """Whether this pair is one of the grossly wrong ones."""
        return float(torch.rand((), generator=self._generator(i, j))) < self.noise.wrong_share

    def _generator(self, i: int, j: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.noise.seed * 1_000_003 + i * 10_007 + j)

    def _answer(self, i: int, j: int) -> PairPrediction:
        generator, noise = self._generator(i, j), self.noise
        wrong = float(torch.rand((), generator=generator)) < noise.wrong_share
        truth = self.truth.pair(i, j)
        # Sky and padding have no finite target; the tool's arrays are finite everywhere.
        points = torch.where(
            truth.valid[..., None], truth.points, torch.ones_like(truth.points)
        ).double()
        cam1_from_cam2 = invert(truth.cam2_from_cam1.double())
        if noise.smooth:
            points = _smooth(points, cam1_from_cam2, noise.smooth, generator)
        if noise.independent:
            size = noise.independent * points.norm(dim=-1, keepdim=True)
            points = points + size * torch.randn(
                points.shape, generator=generator, dtype=points.dtype
            )
        if wrong:
            points[:, 1] = transform_map(_misplacement(points, generator)[:, None], points[:, 1])
        points = points * torch.exp(
            noise.log_scale * torch.randn((), generator=generator, dtype=points.dtype)
        )
        error = max(float(np.hypot(noise.independent, noise.smooth)), _EXACT_ERROR)
        own = torch.stack((truth.valid[:, 0, 0], truth.valid[:, 1, 1]), 1)
        return PairPrediction(
            points=points.float(),
            confidence=torch.full(points.shape[:-1], 1 / error),
            valid_logit=torch.where(own, 10.0, -10.0),
        )


def _smooth(
    points: Tensor, cam1_from_cam2: Tensor, sigma: float, generator: torch.Generator
) -> Tensor:
    """Stretch each view's points along its own rays by a smooth field; both times of a view by the same one."""
    height, width = points.shape[3:5]
    coarse = torch.randn(len(points), 2, 4, 6, generator=generator, dtype=points.dtype)
    field = torch.nn.functional.interpolate(
        coarse, (height, width), mode="bicubic", align_corners=True
    )
    field = sigma * field / field.std(dim=(-1, -2), keepdim=True)
    centre = torch.stack((torch.zeros_like(cam1_from_cam2[:, :3, 3]), cam1_from_cam2[:, :3, 3]), 1)
    centre = centre[:, :, None, None, None]
    return centre + (points - centre) * (1 + field)[:, :, None, :, :, None]


def _misplacement(points: Tensor, generator: torch.Generator) -> Tensor:
    """A rigid motion (1, 4, 4) of about half a radian and half the median distance."""
    w, t = torch.randn(2, 1, 3, generator=generator, dtype=points.dtype)
    distance = points.norm(dim=-1).median()
    return rigid(so3_exp(0.5 * w / w.norm()), 0.5 * distance * t / t.norm())


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()

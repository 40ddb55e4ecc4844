"""dpm-mini: the network in the wheel. Matching by `dpm_cli.matching`, geometry and motion by the network.

The network works near the size it was trained at, whatever the images' size; its maps are brought to full size along
the images' edges and turned to points there with the full flow. So rays, motion boundaries and flow have full detail,
depth has as much as the network's size and the images' edges tell.
"""

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.camera import camera_focal
from dpm_cli.focal.clip import find_focal
from dpm_cli.focal.network import guess_focal
from dpm_cli.matching.consistency import consistency_error
from dpm_cli.matching.matcher import Matcher
from dpm_cli.network.mini import MULTIPLE, MiniNetwork, MiniOutput, compose, without_offset
from dpm_cli.network.mini.parallax import NOISE_PX
from dpm_cli.network.mini.upsample import upsample
from dpm_cli.network.mini.warp import half_diagonal
from dpm_cli.predictors.confidence_scale import ConfidenceScale
from dpm_cli.predictors.mini_status import camera_status
from dpm_cli.predictors.protocol import Features, FrameDepth, PredictorInfo, frame_rows
from dpm_cli.structures import Clip, PairPrediction
from dpm_cli.weights.mini_file import load_mini

AREA = 96 * 128
"""Pixels of the network's images: what it was trained at."""
_MATCHED_PX = 1.5
_PRIORS_KEPT = 64
"""Frames whose prior is kept at the network's size."""


def network_size(height: int, width: int, area: int = AREA) -> tuple[int, int]:
    """Size near `area` pixels, a multiple of 16 each way, whose aspect is nearest to that of the images."""
    sizes = [
        (h, w)
        for h in range(MULTIPLE, 20 * MULTIPLE, MULTIPLE)
        for w in range(MULTIPLE, 20 * MULTIPLE, MULTIPLE)
        if 0.75 * area <= h * w <= 1.3 * area
    ]
    wanted = math.log(height / width)
    return min(
        sizes,
        key=lambda s: (
            abs(math.log(s[0] / s[1]) - wanted) + 0.15 * abs(math.log(s[0] * s[1] / area))
        ),
    )


class MiniPredictor:
    """See the module. Follows `predictors.protocol.Predictor`."""

    def __init__(
        self,
        network: MiniNetwork,
        sha256: str,
        scale: ConfidenceScale,
        device: torch.device,
        told_scale: ConfidenceScale | None = None,
    ):
        self.network = network.to(device=device).eval()
        self.scale, self.told_scale = scale, told_scale or scale
        self._prior: FrameDepth | None = None
        self.device = device
        self.matcher = Matcher(torch.get_num_threads())
        self._sha256 = sha256
        self._focal: float | None = None
        self._centre: tuple[float, float] | None = None

    @property
    def info(self) -> PredictorInfo:
        """What the manifest says."""
        return PredictorInfo(
            name="dpm-mini",
            weights_sha256=self._sha256,
            weights_licence="Apache-2.0",
            multiple=1,
            default_long_side=512,
            pair_bytes_per_pixel=750,
            feature_bytes_per_pixel=12,
        )

    def prepare(self, clip: Clip, intrinsics: np.ndarray | None) -> FocalEstimate | None:
        """Fix one focal length for the clip: the given one, else by geometry and the network's guess."""
        self._focal, self._centre = None, None
        self.matcher.begin(clip.frames)
        if intrinsics is not None:
            K = np.asarray(intrinsics, np.float64).reshape(-1, 3, 3)
            focal_px = float(np.median(np.sqrt(K[:, 0, 0] * K[:, 1, 1])))
            self._focal = focal_px / half_diagonal(*clip.size)
            self._centre = (float(np.median(K[:, 0, 2])), float(np.median(K[:, 1, 2])))
            return None
        word = camera_focal(clip)
        if len(clip) < 2 and word is None:
            return None
        found = find_focal(
            clip.frames, clip.size, self.matcher, lambda: guess_focal(clip, self._focal_px), word
        )
        self._focal = found.focal_px / half_diagonal(*clip.size)
        return found

    @torch.inference_mode()
    def _focal_px(self, first: Tensor, second: Tensor) -> Tensor:
        """The network's focal lengths (B,) float64, pixels of images (B, 3, H, W)."""
        first, second = first.to(self.device), second.to(self.device)
        out = self._run(first, second, self.matcher.flows(first, second))
        return out.log_focal.exp().double() * half_diagonal(*first.shape[-2:])

    @property
    def hears_prior(self) -> bool:
        """Whether the weights have a decoder for it."""
        return self.network.told is not None

    def tell(self, prior: FrameDepth | None) -> None:
        """A depth prior for pairs that have no parallax of their own."""
        self._prior = None if prior is None else lru_cache(_PRIORS_KEPT)(prior)

    def encode(self, images: Tensor) -> Features:
        """The images themselves: matching needs both, so nothing can be computed of one alone."""
        return {"image": images.float()}

    @torch.inference_mode()
    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """Four dynamic point maps a pair, measured flow, motion and validity logits, status of the camera."""
        first, second = features_1["image"], features_2["image"]
        with torch.autocast(first.device.type, enabled=False):
            flow = self.matcher.flows(first, second, frame_rows(features_1, features_2))
            return self._predict(first, second, flow, frame_rows(features_1, features_2))

    def _run(
        self, first: Tensor, second: Tensor, flow: Tensor, prior: Tensor | None = None
    ) -> MiniOutput:
        """Network's output at its own size from flow (B, 2, H, W, 2) and a prior (B, 2, H, W) at full size."""
        height, width = first.shape[-2:]
        small_size = network_size(height, width)
        images = torch.stack((first, second), 1).flatten(0, 1)
        small = F.interpolate(images, small_size, mode="bilinear", antialias=True).unflatten(
            0, (-1, 2)
        )
        scale = torch.tensor((small_size[1] / width, small_size[0] / height), device=flow.device)
        moved = flow.flatten(0, 1).permute(0, 3, 1, 2)
        moved = F.interpolate(moved, small_size, mode="bilinear", antialias=True)
        moved = moved.permute(0, 2, 3, 1).unflatten(0, (-1, 2)) * scale
        known = None
        if self._focal is not None:
            known = torch.full(
                (len(first),), self._focal * half_diagonal(*small_size), device=flow.device
            )
        # Flow is measured at full size, so that in the network's smaller pixels its error is smaller too.
        noise_px = torch.full((len(first),), NOISE_PX * small_size[1] / width, device=flow.device)
        if prior is not None:
            prior = F.interpolate(prior, small_size, mode="area")
        return self.network(small, moved, known, noise_px, prior)

    def _predict(
        self, first: Tensor, second: Tensor, flow: Tensor, rows: Tensor | None
    ) -> PairPrediction:
        out = self._run(first, second, flow)
        found = self._read(first, second, flow, out, self.scale)
        if self._prior is None or rows is None:
            return found
        # Where parallax knows depth a prior could only repeat or spoil it, and would be judged by its own echo later.
        told = [k for k, status in enumerate(found.status) if status != "ok"]
        if not told:
            return found
        images = first[told], second[told], flow[told]
        again = self._run(*images, self._told(rows[told]))
        return _with_rows(found, told, self._read(*images, again, self.told_scale))

    def _told(self, rows: Tensor) -> Tensor:
        """The prior (B, 2, H, W) of frames `rows` (B, 2)."""
        assert self._prior is not None
        maps = [np.stack([self._prior(t) for t in pair]) for pair in rows.tolist()]
        return torch.from_numpy(np.stack(maps)).to(self.device)

    def _read(
        self, first: Tensor, second: Tensor, flow: Tensor, out: MiniOutput, scale: ConfidenceScale
    ) -> PairPrediction:
        """The network's maps at full size, as the protocol wants them."""
        guide = torch.stack((first, second), 1).flatten(0, 1)
        # The shipped weights' correction of the flow is no better than none at this size (model card).
        maps = upsample(without_offset(out.maps).flatten(0, 1), guide).unflatten(0, (-1, 2))
        points, _ = compose(maps, flow, out.pose, out.focal, self._centre)
        error = consistency_error(flow)[:, 0]
        motion = maps[:, :, 7] + scale.motion_bias
        static = torch.sigmoid(-2 * motion[:, 0]) * (error < _MATCHED_PX)
        return PairPrediction(
            points=points,
            confidence=scale.confidence(maps[:, :, 5:7]),
            flow=flow,
            motion_logit=motion,
            valid_logit=maps[:, :, 8],
            status=camera_status(flow[:, 0], error, static, out.focal),
        )


def load(
    weights: Path | None, device: torch.device, dtype: torch.dtype = torch.float32
) -> MiniPredictor:
    """The predictor of the wheel's weights, or of a file that `dpm train` wrote.

    Args:
        weights: safetensors file; None = the shipped one.
        device: where to compute.
        dtype: not used: the network is small, and depth keeps its digits in float32.

    Raises:
        WeightsError: the file is missing or of another network.
    """
    found = load_mini(weights)
    texts = (found.metadata.get(name) for name in ("calibration", "calibration_told"))
    scale, told_scale = (ConfidenceScale.from_json(text) if text else None for text in texts)
    return MiniPredictor(
        found.network, found.sha256, scale or ConfidenceScale(), device, told_scale
    )


def _with_rows(whole: PairPrediction, rows: list[int], part: PairPrediction) -> PairPrediction:
    """`whole` with the points that `part` says of `rows`; a prior of depth knows nothing of what moves."""
    changed = {}
    for name in ("points", "confidence", "valid_logit"):
        values = getattr(whole, name).clone()
        values[rows] = getattr(part, name)
        changed[name] = values
    return replace(whole, **changed)

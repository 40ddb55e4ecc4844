"""The protocol every predictor follows, so that the engine knows no model by name.

    predictor.prepare(clip, intrinsics)        once a clip: focal, strides; may be skipped
    features = predictor.encode(images)        once a frame, in batches
    prediction = predictor.predict(f1, f2)     once a directed pair, in batches

Features are a dict of tensors, each with the batch as first axis, so the engine can cache, split and join them. The
engine adds `FRAME`, the number of the frame in the clip, for predictors that look at more of the clip than the pair.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from dpm_cli.focal import FocalEstimate
from dpm_cli.matching.matcher import Matcher
from dpm_cli.structures import Clip, PairPrediction

Features = dict[str, Tensor]
FrameDepth = Callable[[int], np.ndarray]
"""Inverse depth (H, W) float32 of a frame of the clip up to scale and shift, 0 where nothing is known."""
FRAME = "frame"
"""Key of the frame numbers (B,) int64 in the features that the engine hands to `predict`."""


def frame_rows(features_1: Features, features_2: Features) -> Tensor | None:
    """Frame numbers (B, 2) of the pairs, where the features come from a clip."""
    if FRAME not in features_1:
        return None
    return torch.stack((features_1[FRAME], features_2[FRAME]), 1)


@dataclass(frozen=True)
class PredictorInfo:
    """What the manifest says of a predictor."""

    name: str
    weights_sha256: str | None
    """None for a predictor without weights."""
    weights_licence: str
    multiple: int
    """Height and width of the images must be multiples of this; the engine resizes, never crops."""
    default_long_side: int
    """Working size in pixels when the user asks for none."""
    pair_bytes_per_pixel: int = 2000
    """Memory that predicting one pair takes, per working pixel; decides the automatic batch size."""
    feature_bytes_per_pixel: int = 32
    """Memory of one frame's features, per working pixel; decides how many are kept."""
    notes: tuple[str, ...] = ()
    """What a user must know of these weights, said once a run."""


class Predictor(Protocol):
    """Images in, dynamic point maps out."""

    @property
    def info(self) -> PredictorInfo:
        """Name, licence and what the engine must know."""
        ...

    def prepare(self, clip: Clip, intrinsics: np.ndarray | None) -> FocalEstimate | None:
        """See the whole clip; `intrinsics` (T, 3, 3) or (3, 3) float64 at the working size, where known.

        Returns the focal length that all maps will be made with, if the predictor had to find one for the whole clip.
        """
        ...

    def encode(self, images: Tensor) -> Features:
        """Features of images (B, 3, H, W) float32 in [0, 1]."""
        ...

    def predict(self, features_1: Features, features_2: Features) -> PairPrediction:
        """Four dynamic point maps a pair."""
        ...


@runtime_checkable
class MeasuresFlow(Protocol):
    """A predictor that stands on measured optical flow, which may also be the user's."""

    matcher: Matcher


@runtime_checkable
class HearsPrior(Protocol):
    """A predictor that can be told a depth prior; the engine's frame numbers say of which frames."""

    @property
    def hears_prior(self) -> bool:
        """Whether its weights know what to do with one."""
        ...

    def tell(self, prior: FrameDepth | None) -> None:
        """What pairs without parallax are told from now on; None = nothing."""
        ...

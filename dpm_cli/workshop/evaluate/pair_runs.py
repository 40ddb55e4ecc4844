"""Run a predictor on pairs of frames and score each."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dpm_cli.geometry.camera import source_from_working
from dpm_cli.passes.engine import predict_pairs
from dpm_cli.predictors.protocol import Predictor
from dpm_cli.structures import Clip, PairPrediction
from dpm_cli.video.images import resize_image
from dpm_cli.video.select import working_size
from dpm_cli.workshop.evaluate.cases import PairCase
from dpm_cli.workshop.evaluate.pair_scores import reduce_at, resize_prediction, score_pair
from dpm_cli.workshop.evaluate.pictures import pair_picture
from dpm_cli.workshop.evaluate.results import Score


@dataclass(frozen=True)
class RunOptions:
    """How models are run."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    known_intrinsics: bool = False
    """Give the model the true intrinsics instead of letting it find them."""
    long_side: int | None = None
    """Working size in pixels; None = the model's default."""


class TwoImages:
    """A frame reader of images in memory."""

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """(N, H, W, 3) uint8."""
        return self.images[list(indices)]


def score_pairs(
    predictor: Predictor,
    model: str,
    cases: Iterable[PairCase],
    options: RunOptions,
    *,
    pictures: bool = True,
) -> list[Score]:
    """One score a case, in order, under the name `model`."""
    return [_score(predictor, model, case, options, pictures) for case in cases]


def predict_case(
    predictor: Predictor, case: PairCase, options: RunOptions
) -> tuple[PairPrediction, float]:
    """The prediction at the truth's size, and the seconds that preparing, encoding and predicting took."""
    size = case.images.shape[1:3]
    working = working_size(
        size, options.long_side or predictor.info.default_long_side, predictor.info.multiple
    )
    images = np.stack([resize_image(image, working) for image in case.images])
    to_source = source_from_working(size, working).numpy()
    clip = Clip(
        name=case.name,
        frames=TwoImages(images),
        size=working,
        source_size=size,
        source_from_working=to_source,
        frame_index=np.arange(2),
        timestamps=np.arange(2) / 25,
        source=case.name,
        fingerprint="",
    )
    K = case.intrinsics if options.known_intrinsics else None
    start = time.perf_counter()
    predictor.prepare(clip, None if K is None else np.linalg.inv(to_source) @ K)
    pair = np.array([[0, 1]])
    (chunk,) = predict_pairs(
        clip.frames, pair, predictor, device=options.device, dtype=options.dtype, batch_size=1
    )
    seconds = time.perf_counter() - start
    return resize_prediction(chunk.prediction, size), seconds


def _score(
    predictor: Predictor, model: str, case: PairCase, options: RunOptions, pictures: bool
) -> Score:
    prediction, seconds = predict_case(predictor, case, options)
    reduction = reduce_at(prediction, case.intrinsics if options.known_intrinsics else None)
    return Score(
        model=model,
        dataset=case.dataset,
        sequence=case.name,
        values=score_pair(prediction, reduction, case),
        seconds=seconds,
        picture=pair_picture(reduction, case) if pictures else None,
    )

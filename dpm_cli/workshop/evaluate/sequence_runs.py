"""Reconstruct a data set's sequences with a model, as a user would, and score the result."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from dpm_cli.config import ClipSettings, ReconstructSettings
from dpm_cli.errors import DpmError
from dpm_cli.export.pictures import mask_picture
from dpm_cli.pipeline import reconstruct
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.evaluate.matched import MatchedSequence
from dpm_cli.workshop.evaluate.pictures import depth_column, grid
from dpm_cli.workshop.evaluate.results import Score
from dpm_cli.workshop.evaluate.sequence_scores import score_sequence

Reconstruct = Callable[[list[str], Path], Sequence4D]


def has_sequence_truth(truth: SequenceTruth) -> bool:
    """Whether a whole reconstruction can be judged: three frames and depth, cameras, masks or tracks."""
    known = (truth.depth, truth.cam2world, truth.masks, truth.tracks)
    return len(truth) > 2 and any(k is not None for k in known)


def reconstruction(settings: ReconstructSettings) -> Reconstruct:
    """`dpm reconstruct` with these settings, writing nothing but frames and cameras."""

    def run(images: list[str], folder: Path) -> Sequence4D:
        return reconstruct(images, folder, settings)

    return run


def run_settings(
    model: str, *, weights: str | None, device: str, dtype: str, size: int | None
) -> ReconstructSettings:
    """Settings of a run that is only judged: no point clouds, masks or previews are written.

    No depth prior, so that a table does not depend on what weights happen to be here.
    """
    return ReconstructSettings(
        model=model,
        weights=weights,
        device=device,
        dtype=dtype,
        clip=ClipSettings(size=size),
        prior="none",
        formats=(),
    )


def knowing(settings: ReconstructSettings, truth: SequenceTruth) -> ReconstructSettings:
    """The same settings with the true intrinsics of the first frame."""
    assert truth.intrinsics is not None
    K = truth.intrinsics[0]
    numbers = (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    return dataclasses.replace(settings, intrinsics=",".join(f"{n:.9g}" for n in numbers))


def score_sequences(
    model: str,
    run: Reconstruct,
    truths: Iterable[SequenceTruth],
    *,
    most_frames: int | None = None,
    reporter: Reporter | None = None,
) -> list[Score]:
    """One score a sequence; a sequence on which the model fails is reported and counts as missing."""
    reporter = reporter or SilentReporter()
    scores = []
    for truth in truths:
        with tempfile.TemporaryDirectory(prefix="dpm-evaluate-") as folder:
            images = write_frames(truth, Path(folder) / "images", most_frames)
            start = time.perf_counter()
            try:
                result = run(images, Path(folder) / "run")
            except DpmError as error:
                reporter.note(f"{model} failed on {truth.dataset} {truth.name}: {error}")
                continue
            seconds = time.perf_counter() - start
            scores.append(judge(model, result, truth, seconds))
    return scores


def judge(model: str, result: Sequence4D, truth: SequenceTruth, seconds: float) -> Score:
    """Score and picture of one result.

    Raises:
        InputError: the result has frames that the truth does not know.
    """
    score = score_sequence(result, truth)
    return Score(
        model=model,
        dataset=f"{truth.dataset}/video",
        sequence=truth.name,
        values=score.values,
        seconds=seconds,
        weight=max(score.depth_pixels, 1),
        picture=sequence_picture(result, truth),
    )


def write_frames(truth: SequenceTruth, folder: Path, most: int | None) -> list[str]:
    """The first frames as PNG files in order; their paths."""
    folder.mkdir(parents=True)
    paths = []
    for t in range(len(truth) if most is None else min(most, len(truth))):
        path = folder / f"{t:06d}.png"
        cv2.imwrite(
            str(path),
            np.ascontiguousarray(truth.images[t][..., ::-1]),
            [cv2.IMWRITE_PNG_COMPRESSION, 1],
        )
        paths.append(str(path))
    return paths


def sequence_picture(result: Sequence4D, truth: SequenceTruth) -> np.ndarray:
    """First, middle and last frame: image, depth and mask, the truth above the result."""
    matched = MatchedSequence.match(result, truth)
    columns = []
    for row in np.unique(np.linspace(0, len(result) - 1, 3).round().astype(int)):
        t = int(matched.frames[row])
        image = truth.images[t]
        if truth.depth is not None:
            columns += [[image, image], depth_column(*matched.depth(int(row)))]
        if truth.masks is not None:
            labels = truth.masks[t]
            score = result.read(int(row), "dynamic")
            found = (
                cv2.resize(score, labels.shape[::-1]) > 0.5 if score is not None else labels < -1
            )
            columns.append([mask_picture(image, labels == 1), mask_picture(image, found)])
    if not columns:
        return np.zeros((2, 2, 3), np.uint8)
    return grid(columns)

"""Masks that the user gives: non-zero pixels move by themselves, whatever the predictor thinks."""

from dataclasses import replace
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import torch

from dpm_cli.errors import InputError
from dpm_cli.structures import PairPrediction
from dpm_cli.video.inputs import natural_key

_CERTAIN = 8.0
"""Log odds of a pixel that the user has marked."""


class UserMasks:
    """One mask per source frame, or one per frame of the clip, in natural order of the file names."""

    def __init__(self, folder: Path, frame_index: np.ndarray, size: tuple[int, int]):
        paths = sorted(
            (p for p in folder.glob("*") if p.suffix.lower() in {".png", ".jpg", ".jpeg"}),
            key=lambda p: natural_key(p.name),
        )
        count = len(frame_index)
        if not paths:
            raise InputError(f"--mask-dir {folder}: no png or jpg masks there")
        if len(paths) == count:
            self.paths = paths
        elif len(paths) > int(frame_index.max()):
            self.paths = [paths[i] for i in frame_index]
        else:
            raise InputError(
                f"--mask-dir {folder}: {len(paths)} masks for {count} frames; give one for each frame"
            )
        self.size = size

    def read(self, t: int) -> np.ndarray:
        """(H, W) bool at the working size."""
        mask = np.asarray(iio.imread(self.paths[t]))
        marked = np.any(mask.reshape(*mask.shape[:2], -1) > 0, axis=-1)
        return cv2.resize(
            marked.view(np.uint8), self.size[::-1], interpolation=cv2.INTER_NEAREST
        ).astype(bool)

    def apply(self, prediction: PairPrediction, pairs: np.ndarray) -> PairPrediction:
        """The prediction with its motion logit replaced by the masks of pairs (B, 2)."""
        marked = np.stack([[self.read(int(i)), self.read(int(j))] for i, j in pairs])
        logit = torch.where(torch.from_numpy(marked), _CERTAIN, -_CERTAIN).to(prediction.points)
        return replace(prediction, motion_logit=logit)

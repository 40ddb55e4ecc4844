"""A reconstructed sequence joined to the truth of its frames, by their number in the source."""

from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.datasets.truth import SequenceTruth
from dpm_cli.workshop.metrics.depth import fill


@dataclass(frozen=True, eq=False)
class MatchedSequence:
    """A result and the truth of its frames."""

    result: Sequence4D
    truth: SequenceTruth
    frames: np.ndarray
    """(T,) int64 frame of the truth for each frame of the result."""

    @classmethod
    def match(cls, result: Sequence4D, truth: SequenceTruth) -> "MatchedSequence":
        """Join by the frames' number in the source.

        Raises:
            InputError: the result has frames that the truth does not know.
        """
        if len(result) and int(result.frame_index.max()) >= len(truth):
            raise InputError(
                f"{result.name}: frame {int(result.frame_index.max())} is not among the {len(truth)} frames of "
                f"{truth.name}: is it a result of the same clip?"
            )
        return cls(result, truth, result.frame_index)

    def depth(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Prediction, truth and where it is known, each (H, W), of one frame at the truth's size."""
        assert self.truth.depth is not None
        truth = self.truth.depth[int(self.frames[row])]
        found = self.read(row, "depth"), self.read(row, "valid")
        depth = cv2.resize(fill(*found), truth.shape[::-1], interpolation=cv2.INTER_CUBIC)
        return depth, truth, (truth > 0) & (truth < self.truth.max_depth)

    def read(self, row: int, key: str) -> np.ndarray:
        """One array of a frame of the result.

        Raises:
            InputError: the result does not have it.
        """
        value = self.result.read(row, key)
        if value is None:
            raise InputError(f"{self.result.name}: frame {row} has no {key}")
        return value

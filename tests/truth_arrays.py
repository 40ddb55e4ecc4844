"""A rendered clip's keys as arrays, as they stand in its file."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dpm_cli.workshop.synthetic.sequence_truth import write_truth
from dpm_cli.workshop.synthetic.truth import ClipTruth


def sequence_arrays(truth: ClipTruth, fps: float = 24.0) -> dict[str, np.ndarray]:
    """All keys of one clip (B = 1) at `fps` frames a second."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "truth.npz")
        write_truth(path, truth, fps)
        with np.load(path, allow_pickle=False) as file:
            return dict(file)

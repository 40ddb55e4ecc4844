"""Motion masks as 8-bit single-channel PNG: 255 moves by itself, 0 does not."""

from pathlib import Path

import cv2
import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path
from dpm_cli.picture_limit import refuse_large_png


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a mask (H, W) bool atomically."""
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), mask.astype(np.uint8) * 255)


def read_mask(path: Path) -> np.ndarray:
    """Mask (H, W) bool; any non-zero value counts, as in DAVIS.

    Raises:
        InputError: missing or not an image.
    """
    image = None
    if Path(path).is_file():
        refuse_large_png(path)
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path} cannot be read as a mask image")
    return np.asarray(image.any(-1) if image.ndim == 3 else image > 0)

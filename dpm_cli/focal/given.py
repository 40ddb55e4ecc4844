"""The user's word: intrinsics in source pixels, brought to the working size."""

from pathlib import Path

import numpy as np
import torch

from dpm_cli.errors import InputError, UsageError
from dpm_cli.focal.estimate import FocalEstimate
from dpm_cli.geometry.camera import focal_from_fov, intrinsics_matrix
from dpm_cli.structures import Clip


def given_intrinsics(
    clip: Clip, fov_deg: float | None, intrinsics: str | None
) -> np.ndarray | None:
    """K (3, 3) float64 at the working size, or None if nothing was given.

    Args:
        clip: tells the source size and `source_from_working`.
        fov_deg: horizontal field of view of the source in degrees.
        intrinsics: `fx,fy,cx,cy` in source pixels, or a text file with these 4 numbers or the 9 of K.

    Raises:
        UsageError: both are given, or one makes no sense.
        InputError: the file cannot be read.
    """
    if fov_deg is not None and intrinsics is not None:
        raise UsageError("--fov and --intrinsics: give one of them")
    if fov_deg is not None:
        if not 1 < fov_deg < 179:
            raise UsageError(f"--fov {fov_deg:g}: give degrees between 1 and 179")
        height, width = clip.source_size
        focal_px = torch.tensor(focal_from_fov(fov_deg, width), dtype=torch.float64)
        K_source = intrinsics_matrix(focal_px, height, width).numpy()
    elif intrinsics is not None:
        K_source = parse_intrinsics(intrinsics)
    else:
        return None
    return np.linalg.inv(clip.source_from_working) @ K_source


def given_focal(intrinsics: np.ndarray) -> FocalEstimate:
    """The estimate that intrinsics (3, 3) or (T, 3, 3) at the working size are."""
    return FocalEstimate(float(np.median(intrinsics[..., 0, 0])), 0.0, "given")


def parse_intrinsics(text: str) -> np.ndarray:
    """K (3, 3) from `fx,fy,cx,cy`, or from a file that holds 4 or 9 numbers."""
    path = Path(text)
    where = f"--intrinsics {text}"
    if path.suffix and not path.is_file() and "," not in text:
        raise InputError(f"{where}: no such file")
    content = path.read_text() if path.is_file() else text
    try:
        numbers = [float(n) for n in content.replace(",", " ").split()]
    except (ValueError, UnicodeDecodeError):
        numbers = []
    if len(numbers) == 9:
        K = np.array(numbers).reshape(3, 3)
    elif len(numbers) == 4:
        fx, fy, cx, cy = numbers
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    else:
        raise UsageError(
            f"{where}: give fx,fy,cx,cy in source pixels or a file with 4 or 9 numbers"
        )
    if not (K[0, 0] > 0 and K[1, 1] > 0 and np.allclose(K[2], (0, 0, 1))):
        raise UsageError(f"{where}: focal lengths must be positive and the last row 0 0 1")
    return K

"""The user's word: intrinsics in source pixels, brought to the working size."""

import math
from pathlib import Path

import numpy as np
import torch

from dpm_cli.errors import InputError, UsageError
from dpm_cli.focal.estimate import FocalEstimate
from dpm_cli.geometry.camera import focal_from_fov, intrinsics_matrix, source_from_working
from dpm_cli.structures import Clip
from dpm_cli.video.bars import shown_area, whole_area

_FOV_DEG = (2.0, 170.0)
"""Horizontal fields of view that a pinhole camera may have."""
_OFF_CENTRE = 0.1
_ALIKE = 0.03
_ASPECT = 0.02


def given_intrinsics(
    clip: Clip,
    fov_deg: float | None,
    intrinsics: str | None,
    intrinsics_size: tuple[int, int] | None = None,
) -> np.ndarray | None:
    """K (3, 3) float64 at the working size, or None if nothing was given.

    Args:
        clip: tells the source size and `source_from_working`.
        fov_deg: horizontal field of view of the picture, bars left out, in degrees.
        intrinsics: `fx,fy,cx,cy` in source pixels, or a text file with these 4 numbers or the 9 of K.
        intrinsics_size: (width, height) of the pictures that `intrinsics` are for; None = the source's.

    Raises:
        UsageError: both are given, or one makes no sense or fits a picture of another size.
        InputError: the file cannot be read.
    """
    if fov_deg is not None and intrinsics is not None:
        raise UsageError("--fov and --intrinsics: give one of them")
    if intrinsics is None and intrinsics_size is not None:
        raise UsageError("--intrinsics-size: give --intrinsics too")
    if fov_deg is not None:
        if not 1 < fov_deg < 179:
            raise UsageError(f"--fov {fov_deg:g}: give degrees between 1 and 179")
        K_source = _from_fov(fov_deg, clip)
    elif intrinsics is not None:
        K_source = parse_intrinsics(intrinsics)
        if intrinsics_size is not None:
            K_source = _resized(K_source, intrinsics_size, clip)
        _check(K_source, clip)
    else:
        return None
    return np.linalg.inv(clip.source_from_working) @ K_source


def given_focal(intrinsics: np.ndarray) -> FocalEstimate:
    """The estimate that intrinsics (3, 3) or (T, 3, 3) at the working size are."""
    return FocalEstimate(float(np.median(intrinsics[..., 0, 0])), 0.0, "given")


def _from_fov(fov_deg: float, clip: Clip) -> np.ndarray:
    """K (3, 3) in source pixels, the principal point in the middle of the picture."""
    area = shown_area(clip.source_from_working, clip.size)
    focal_px = torch.tensor(focal_from_fov(fov_deg, area.width), dtype=torch.float64)
    K = intrinsics_matrix(focal_px, area.height, area.width).numpy()
    K[1, 1] *= clip.pixel_aspect
    K[:2, 2] += area.x, area.y
    return K


def _resized(K: np.ndarray, size: tuple[int, int], clip: Clip) -> np.ndarray:
    """K (3, 3) of pictures of `size` (width, height) in pixels of the source, or of its picture without bars."""
    area = shown_area(clip.source_from_working, clip.size)
    for whole in (whole_area(clip.source_size), area):
        if abs(np.log(size[0] / size[1] * whole.height / whole.width)) < _ASPECT:
            scaled = source_from_working(whole.size, (size[1], size[0])).numpy() @ K
            scaled[:2, 2] += whole.x, whole.y
            return scaled
    raise UsageError(
        f"--intrinsics-size {size[0]},{size[1]}: the source is {_text(clip.source_size)}, of another aspect: "
        "its pictures are no resized ones of that size"
    )


def _check(K: np.ndarray, clip: Clip) -> None:
    """Refuse intrinsics (3, 3) that no camera of this source can have."""
    height, width = clip.source_size
    fx, cx, cy = float(K[0, 0]), float(K[0, 2]), float(K[1, 2])
    least, most = (focal_from_fov(fov, width) for fov in reversed(_FOV_DEG))
    if 0 <= cx <= width - 1 and 0 <= cy <= height - 1 and least <= fx <= most:
        return
    # People write the middle of W pixels as W / 2 and as (W - 1) / 2; pictures have even sides.
    other = ",".join(str(2 * math.floor(c + 0.5)) for c in (cx, cy))
    raise UsageError(
        f"--intrinsics: focal length {fx:g} px and principal point {cx:g},{cy:g} do not fit the source, "
        f"{_text(clip.source_size)}, but rather one of {other.replace(',', 'x')}: "
        f"give them for this size, or add --intrinsics-size {other}"
    )


def doubts(K: np.ndarray, clip: Clip) -> list[str]:
    """One line for each thing that is odd about given intrinsics K (3, 3) at the working size."""
    height, width = clip.source_size
    K = clip.source_from_working @ K
    notes = []
    across, down = (K[0, 2] + 0.5) / width, (K[1, 2] + 0.5) / height
    if abs(across - 0.5) > _OFF_CENTRE and abs(across - down) < _ALIKE:
        notes.append(
            f"the principal point lies at {across:.0%} of the source's width and height, {_text((height, width))}: "
            "if the intrinsics are for another size, give --intrinsics-size"
        )
    aspect = K[1, 1] / K[0, 0]
    if abs(np.log(aspect / clip.pixel_aspect)) > _OFF_CENTRE:
        notes.append(
            f"the intrinsics are for pixels {aspect:.2f} times as wide as high, "
            f"those of the source are {clip.pixel_aspect:.2f} times"
        )
    return notes


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def parse_intrinsics(text: str) -> np.ndarray:
    """K (3, 3) from `fx,fy,cx,cy`, or from a file that holds 4 or 9 numbers."""
    path = Path(text)
    where = f"--intrinsics {text}"
    if path.suffix and not path.is_file() and "," not in text:
        raise InputError(f"{where}: no such file")
    try:
        content = path.read_text(encoding="utf-8") if path.is_file() else text
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
    possible = K[0, 0] > 0 and K[1, 1] > 0 and np.allclose(K[2], (0, 0, 1))
    if not possible or not np.isfinite(K).all():
        raise UsageError(f"{where}: focal lengths must be positive and the last row 0 0 1")
    return K

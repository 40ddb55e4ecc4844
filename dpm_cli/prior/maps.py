"""Files of the user's own depth, as they are: npz, 16-bit PNG, EXR.

An npz holds one 2D array, or the array is named `depth` (for inverse: `inverse_depth` or `disparity`); `focal_px` (at
the array's own width) and `sky` (h, w) bool are used where they are there. A PNG holds depth times `depth_factor` where
its text declares one (as `dpm export --to depth` writes), else millimetres if metric, else plain numbers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpm_cli.config import PriorKind
from dpm_cli.errors import InputError
from dpm_cli.files import PICTURE_DAMAGE, reads
from dpm_cli.formats.npz_read import load_npz
from dpm_cli.formats.openexr import read_exr
from dpm_cli.video.images import open_image

SUFFIXES = (".npz", ".png", ".exr")
_NAMES = {"depth": ("depth",), "metric": ("depth",), "inverse": ("inverse_depth", "disparity")}
_MILLIMETRE = 1e-3


@dataclass(frozen=True, eq=False)
class DepthMap:
    """One file."""

    values: np.ndarray
    """(h, w) float32 of its kind; 0 = no estimate, infinite = nothing there."""
    sky: np.ndarray
    """(h, w) bool."""
    focal_px: float | None
    """At the map's own width."""


@reads("a depth map", *PICTURE_DAMAGE)
def read_map(path: Path, kind: PriorKind) -> DepthMap:
    """Read one file.

    Raises:
        InputError: unreadable, not a 2D map, holds NaN, or nothing positive and finite.
    """
    focal_px = None
    if path.suffix.lower() == ".npz":
        arrays = load_npz(path)
        values = _pick(path, arrays, kind)
        sky = arrays.get("sky")
        focal_px = float(arrays["focal_px"]) if "focal_px" in arrays else None
    else:
        values = read_exr(path) if path.suffix.lower() == ".exr" else _read_png(path, kind)
        sky = None
    if values.ndim != 2:
        raise InputError(f"{path}: an array of shape {values.shape} is no map of one frame")
    values = values.astype(np.float32)
    if np.isnan(values).any():
        raise InputError(
            f"{path}: holds values that are no numbers: write 0 where depth is unknown"
        )
    if not (np.isfinite(values) & (values > 0)).any():
        raise InputError(f"{path}: holds no positive finite value")
    nothing = np.isposinf(values)
    if sky is not None and sky.shape != values.shape:
        raise InputError(f"{path}: `sky` of shape {sky.shape} beside a map of {values.shape}")
    return DepthMap(values, nothing if sky is None else nothing | sky.astype(bool), focal_px)


def _pick(path: Path, arrays: dict[str, np.ndarray], kind: PriorKind) -> np.ndarray:
    for name in _NAMES[kind]:
        if name in arrays:
            return arrays[name]
    plain = [a for name, a in arrays.items() if a.ndim == 2 and name != "sky"]
    if len(plain) != 1:
        wanted = " or ".join(_NAMES[kind])
        raise InputError(
            f"{path}: no array named {wanted}, nor a single 2D one (--prior-kind {kind})"
        )
    return plain[0]


def _read_png(path: Path, kind: PriorKind) -> np.ndarray:
    with open_image(path) as image:
        codes, text = np.array(image), dict(image.info)
    if codes.ndim != 2 or codes.dtype == np.uint8:
        raise InputError(f"{path}: depth must be a 16-bit grey PNG")
    plain = _MILLIMETRE if kind == "metric" else 1.0
    return codes.astype(np.float32) * float(text.get("depth_factor", plain))

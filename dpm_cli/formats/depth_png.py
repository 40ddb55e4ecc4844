"""Depth as 16-bit PNG, depth = value * factor, 0 = no estimate; the factor and the unit stand in the file's text.

A bare 16-bit PNG is taken for millimetres by most readers; a reconstruction of arbitrary scale must not pass for that,
so the factor is written under the PNG text keys `depth_factor` and `depth_unit`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from dpm_cli.errors import InputError
from dpm_cli.files import PICTURE_DAMAGE, atomic_path, reads
from dpm_cli.picture_limit import refuse_large_png

LARGEST = 2**16 - 1


@dataclass(frozen=True, eq=False)
class DepthImage:
    """Depth with validity and the quantisation of its file."""

    depth: np.ndarray
    """(H, W) float32 z, zero where not valid."""
    valid: np.ndarray
    """(H, W) bool."""
    factor: float
    """Depth units of one step of the file."""
    unit: str
    """metre or arbitrary."""


def write_depth_png(path: Path, image: DepthImage) -> None:
    """Write atomically; a valid depth is at least one step and at most the largest value."""
    codes = np.clip(np.rint(image.depth / image.factor), 1, LARGEST)
    text = PngImagePlugin.PngInfo()
    text.add_text("depth_factor", repr(float(image.factor)))
    text.add_text("depth_unit", image.unit)
    with atomic_path(path) as temporary:
        Image.fromarray(np.where(image.valid, codes, 0).astype(np.uint16)).save(
            temporary, pnginfo=text, compress_level=1
        )


@reads("a depth image", *PICTURE_DAMAGE)
def read_depth_png(path: Path) -> DepthImage:
    """Read a depth PNG.

    Raises:
        InputError: missing, not a 16-bit PNG, or the factor is not declared.
    """
    refuse_large_png(path)
    with Image.open(path) as image:
        codes = np.array(image)
        text = dict(image.info)
    if "depth_factor" not in text or codes.ndim != 2:
        raise InputError(f"{path} does not declare depth_factor: it is not a depth image of dpm")
    factor = float(text["depth_factor"])
    depth = (codes.astype(np.float64) * factor).astype(np.float32)
    return DepthImage(depth, codes > 0, factor, str(text.get("depth_unit", "arbitrary")))

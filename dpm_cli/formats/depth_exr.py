"""Depth as OpenEXR: channel `Z` (float, z in the camera, not ray length) and `A` (1 where there is an estimate).

`Y` holds the depth a second time: OpenCV and Blender's images show a file without grey or colour as zeros. Unlike a
16-bit PNG it needs no factor and no file of facts. The unit stands in the header's attribute `depth_unit`. Needs the
extra `exr` (OpenEXR, BSD licence).
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.errors import InputError, MissingExtraError
from dpm_cli.files import atomic_path, reads


@dataclass(frozen=True, eq=False)
class ExrDepth:
    """Depth with validity."""

    depth: np.ndarray
    """(H, W) float32 z, zero where not valid."""
    valid: np.ndarray
    """(H, W) bool."""
    unit: str
    """metre or arbitrary."""


def write_depth_exr(path: Path, image: ExrDepth) -> None:
    """Write atomically, compressed without loss.

    Raises:
        MissingExtraError: OpenEXR is not installed.
    """
    exr = _openexr()
    depth = np.where(image.valid, image.depth, 0).astype(np.float32)
    channels = {"Z": depth, "Y": depth, "A": image.valid.astype(np.float32)}
    header = {
        "compression": exr.ZIP_COMPRESSION,
        "type": exr.scanlineimage,
        "depth_unit": image.unit,
    }
    with atomic_path(path) as temporary, exr.File(header, channels) as file:
        file.write(str(temporary))


@reads("depth in OpenEXR", RuntimeError)
def read_depth_exr(path: Path) -> ExrDepth:
    """Read what `write_depth_exr` wrote.

    Raises:
        MissingExtraError: OpenEXR is not installed.
        InputError: missing, or no such file.
    """
    exr = _openexr()
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    with exr.File(str(path), separate_channels=True) as file:
        header, channels = file.header(), file.channels()
        depth, alpha = (np.array(channels[name].pixels, np.float32) for name in "ZA")
        return ExrDepth(depth, alpha > 0, str(header["depth_unit"]))


def _openexr() -> Any:
    try:
        return import_module("OpenEXR")
    except ImportError as error:
        raise MissingExtraError("OpenEXR", "exr") from error

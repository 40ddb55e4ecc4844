"""KITTI's flow PNG: 16-bit RGB, u = (R - 2^15) / 64, v = (G - 2^15) / 64, B = 1 where valid, all zero where not.

Format: KITTI flow development kit. The range is +-512 pixels in steps of 1/64.
"""

from pathlib import Path

import cv2
import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path
from dpm_cli.formats.flo import FlowField
from dpm_cli.picture_limit import refuse_large_png


def write_kitti_flow(path: Path, field: FlowField) -> None:
    """Write atomically; a vector outside the range of the format is written as not valid, not clipped."""
    codes = np.rint(field.flow.astype(np.float64) * 64 + 2**15)
    valid = field.valid & ((codes >= 0) & (codes <= 2**16 - 1)).all(-1)
    image = np.zeros((*valid.shape, 3), np.uint16)
    image[valid, 2] = codes[valid, 0]
    image[valid, 1] = codes[valid, 1]
    image[valid, 0] = 1
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), image)


def read_kitti_flow(path: Path) -> FlowField:
    """Read a flow PNG.

    Raises:
        InputError: missing or not a 16-bit RGB PNG.
    """
    image = None
    if Path(path).is_file():
        refuse_large_png(path)
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 3:
        raise InputError(f"{path} is not a KITTI flow image (16-bit RGB PNG)")
    valid = image[..., 0] > 0
    flow = (image[..., [2, 1]].astype(np.float32) - 2**15) / 64
    return FlowField(np.where(valid[..., None], flow, np.float32(0)), valid)

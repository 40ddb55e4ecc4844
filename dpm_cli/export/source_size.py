"""Per-pixel arrays from the working size to the source size, through `source_from_working`.

A source pixel u shows the working pixel A^-1 u. Flow vectors are displacements of pixels, so they are multiplied by
the linear part of A; leaving that out is the commonest fault of such exports.
"""

import numpy as np
import torch
from torch import Tensor

from dpm_cli.formats.flo import FlowField
from dpm_cli.video.bars import shown_area


def flow_to_source(
    flow: np.ndarray,
    valid: np.ndarray,
    source_from_working: np.ndarray,
    source_size: tuple[int, int],
) -> FlowField:
    """Flow (H, W, 2) in working pixels as a field of the source size in source pixels.

    Vectors are interpolated linearly, validity (H, W) is that of the nearest working pixel.
    """
    vectors = resample(flow, source_from_working, source_size) @ source_from_working[:2, :2].T
    known = known_at_source(valid, source_from_working, source_size)
    return FlowField(np.where(known[..., None], vectors, 0).astype(np.float32), known)


def resample(
    array: np.ndarray, source_from_working: np.ndarray, source_size: tuple[int, int]
) -> np.ndarray:
    """Array (H, W) or (H, W, C) float32 at the source size, linear, edges repeated."""
    channels = torch.from_numpy(np.ascontiguousarray(array, np.float32)).reshape(
        *array.shape[:2], -1
    )
    grid = _grid(array.shape[:2], source_from_working, source_size)
    out = torch.nn.functional.grid_sample(
        channels.permute(2, 0, 1)[None],
        grid[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return out[0].permute(1, 2, 0).reshape(*source_size, *array.shape[2:]).numpy()


def nearest_to_source(
    array: np.ndarray, source_from_working: np.ndarray, source_size: tuple[int, int]
) -> np.ndarray:
    """Array (H, W, ...) of any type at the source size, value of the nearest working pixel."""
    height, width = array.shape[:2]
    x, y = _working_axes(source_from_working, source_size)
    columns = np.clip(np.rint(x), 0, width - 1).astype(np.int64)
    rows = np.clip(np.rint(y), 0, height - 1).astype(np.int64)
    return array[rows[:, None], columns[None]]


def known_at_source(
    known: np.ndarray, source_from_working: np.ndarray, source_size: tuple[int, int]
) -> np.ndarray:
    """(H, W) bool at the source size by the nearest working pixel; False where the source shows bars."""
    out = np.zeros(source_size, bool)
    part = shown_area(source_from_working, known.shape).part
    out[part] = nearest_to_source(known, source_from_working, source_size)[part]
    return out


def _working_axes(
    source_from_working: np.ndarray, source_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Working x of every source column and working y of every source row; a resize keeps the axes apart."""
    A = source_from_working
    x = (np.arange(source_size[1]) - A[0, 2]) / A[0, 0]
    y = (np.arange(source_size[0]) - A[1, 2]) / A[1, 1]
    return x, y


def _grid(
    size: tuple[int, int], source_from_working: np.ndarray, source_size: tuple[int, int]
) -> Tensor:
    """Sampling positions (H_source, W_source, 2) in [-1, 1] between the centres of the outermost pixels."""
    x, y = _working_axes(source_from_working, source_size)
    columns = torch.from_numpy(2 * x / max(size[1] - 1, 1) - 1)
    rows = torch.from_numpy(2 * y / max(size[0] - 1, 1) - 1)
    shape = source_size
    return torch.stack((columns.expand(shape), rows[:, None].expand(shape)), -1).float()

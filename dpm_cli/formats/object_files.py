"""Objects of a clip as npz: identities of pixels, poses, sizes and colours under the keys of rendered truth."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from dpm_cli.files import atomic_path, reads
from dpm_cli.formats.npz_read import load_npz


@dataclass(frozen=True, eq=False)
class ObjectTable:
    """N objects over T frames."""

    object_id: np.ndarray
    """(T, H, W) uint16 number of the object from 1, 0 where there is none; working size."""
    object_poses: np.ndarray
    """(T, N, 4, 4) float64 world from object, rigid."""
    object_seen: np.ndarray
    """(T, N) bool."""
    object_residual: np.ndarray
    """(T, N) float64, median distance of points from the rigid motion to the next frame, world units."""
    object_moved: np.ndarray
    """(T, N) float64, median way of points to the next frame, world units."""
    object_size: np.ndarray
    """(N, 3) float64 along the object's own axes, world units."""
    object_color: np.ndarray
    """(N, 3) uint8."""
    timestamps: np.ndarray
    """(T,) float64 seconds."""


def write_object_table(path: Path, table: ObjectTable, **more: np.ndarray | str) -> None:
    """Write the table and `more` atomically; the maps of numbers are compressed."""
    arrays = {f.name: getattr(table, f.name) for f in fields(ObjectTable)}
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays, **more)  # pyright: ignore


@reads("objects")
def read_object_table(path: Path) -> ObjectTable:
    """Read what `write_object_table` wrote; InputError where there is none."""
    arrays = load_npz(path)
    return ObjectTable(**{f.name: arrays[f.name] for f in fields(ObjectTable)})

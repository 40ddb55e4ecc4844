"""Paths of points as a table of text (one line a point and frame) or as npz.

    point,frame,time_s,x_px,y_px,visible,x,y,z,confidence

`frame` counts the frames of the run from 0, pixels are of the source, `x y z` is the world point in world units.
"""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path, reads
from dpm_cli.formats.npz_read import load_npz

_COLUMNS = ("point", "frame", "time_s", "x_px", "y_px", "visible", "x", "y", "z", "confidence")


@dataclass(frozen=True, eq=False)
class TrackTable:
    """N points over T frames."""

    timestamps: np.ndarray
    """(T,) float64 seconds."""
    pixels: np.ndarray
    """(T, N, 2) float64 of the source."""
    visible: np.ndarray
    """(T, N) bool."""
    points: np.ndarray
    """(T, N, 3) float64 world."""
    confidence: np.ndarray
    """(T, N) float64, 1 / expected relative error; 0 where not visible."""


def write_track_csv(path: Path, table: TrackTable) -> None:
    """Write the table, all frames of the first point first, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(_COLUMNS)
        frames, count = table.visible.shape
        for n in range(count):
            for t in range(frames):
                numbers = (*table.pixels[t, n], *table.points[t, n], table.confidence[t, n])
                x, y, *rest = (f"{v:.9g}" for v in numbers)
                seen = int(table.visible[t, n])
                rows.writerow((n, t, f"{table.timestamps[t]:.9g}", x, y, seen, *rest))


@reads("a table of tracks")
def read_track_csv(path: Path) -> TrackTable:
    """Read what `write_track_csv` wrote.

    Raises:
        InputError: missing, or no such table.
    """
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    values = np.array(rows, np.float64).reshape(-1, len(_COLUMNS))
    count = int(values[-1, 0]) + 1
    values = values.reshape(count, -1, len(_COLUMNS)).transpose(1, 0, 2)
    if tuple(header) != _COLUMNS:
        raise InputError(f"{path} is no table of tracks: its columns are {', '.join(header)}")
    return TrackTable(
        values[:, 0, 2], values[..., 3:5], values[..., 5] > 0, values[..., 6:9], values[..., 9]
    )


def write_track_npz(path: Path, table: TrackTable, **more: np.ndarray | str) -> None:
    """Write the table's arrays and `more`, atomically."""
    arrays = {f.name: getattr(table, f.name) for f in fields(TrackTable)}
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays, **more)  # pyright: ignore


@reads("tracks")
def read_track_npz(path: Path) -> TrackTable:
    """Read what `write_track_npz` wrote; InputError where there is none."""
    arrays = load_npz(path)
    return TrackTable(**{f.name: arrays[f.name] for f in fields(TrackTable)})

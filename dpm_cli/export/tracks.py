"""Paths of chosen points as csv or npz."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError, UsageError
from dpm_cli.export.write import make_room, with_suffix
from dpm_cli.formats.track_files import TrackTable, write_track_csv, write_track_npz
from dpm_cli.sequence import Sequence4D
from dpm_cli.tracking import track


@dataclass(frozen=True, eq=False)
class TrackResult:
    """What was written."""

    path: Path
    table: TrackTable


def export_tracks(
    sequence: Sequence4D,
    frame: int,
    at: Sequence[tuple[float, float]],
    path: Path | None = None,
    *,
    overwrite: bool = False,
) -> TrackResult:
    """Follow the points at source pixels `at` (x, y) of frame `frame` of the run, and write them.

    Args:
        sequence: a run.
        frame: its frame, from 0.
        at: source pixels.
        path: ends in .csv or .npz; .csv is added where neither. None = `<run>_tracks.csv` in the current folder.
        overwrite: replace what is there.

    Raises:
        UsageError: there is no such frame or pixel, or `path` exists and `overwrite` is not set.
        InputError: there is no depth at a pixel, or the frame's camera is not registered.
    """
    path = path or Path(f"{sequence.name}_tracks.csv")
    suffix = ".npz" if path.suffix == ".npz" else ".csv"
    path = with_suffix(path, suffix)
    make_room(path, suffix, overwrite)
    _check(sequence, frame, at)
    A = sequence.source_from_working
    tracks = track(sequence, frame, (np.array(at) - A[:2, 2]) / A.diagonal()[:2])
    for (x, y), found in zip(at, tracks.visible[frame], strict=True):
        if not found:
            raise InputError(
                f"there is no depth at {x:g},{y:g} of frame {frame} (sky?): choose another pixel or frame"
            )
    table = TrackTable(
        timestamps=sequence.timestamps,
        pixels=tracks.pixels * A.diagonal()[:2] + A[:2, 2],
        visible=tracks.visible,
        points=tracks.points,
        confidence=tracks.confidence,
    )
    if suffix == ".npz":
        header = sequence.header.arrays()
        about = ("frame_index", "convention", "world", "scale", "model")
        write_track_npz(path, table, **{name: header[name] for name in about})
    else:
        write_track_csv(path, table)
    return TrackResult(path, table)


def _check(sequence: Sequence4D, frame: int, at: Sequence[tuple[float, float]]) -> None:
    if not 0 <= frame < len(sequence):
        raise UsageError(f"there is no frame {frame}: the run has frames 0 to {len(sequence) - 1}")
    if not sequence.camera_ok[frame]:
        raise InputError(f"the camera of frame {frame} is not registered: choose another frame")
    area, (height, width) = sequence.source_area, sequence.source_size
    whole = area.size == (height, width)
    shown = f"source, {width}x{height}" if whole else f"picture, {area} (x,y,w,h) of the source"
    for x, y in at:
        if not (0 <= x - area.x <= area.width - 1 and 0 <= y - area.y <= area.height - 1):
            raise UsageError(f"--at {x:g},{y:g} lies outside of the {shown}")

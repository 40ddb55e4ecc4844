"""Whole scenes in one file: what stands still once, what moves frame by frame, and the cameras."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dpm_cli.config import ExportOptions
from dpm_cli.errors import InputError
from dpm_cli.export.clouds import moving_cloud, static_cloud
from dpm_cli.formats.glb import write_glb
from dpm_cli.formats.scene import PointScene
from dpm_cli.formats.usd import write_usd
from dpm_cli.sequence import Sequence4D
from dpm_cli.version import __version__

FILE_POINTS = (1_000_000, 2_000_000)
"""Still ones, and moving ones of all frames together: a glb of 48 MB."""
_SHORTEST_S = 1e-3
"""Formats want times that rise."""
_FRAME_POINTS = 1_000
"""A frame may have that many moving points however long the clip is."""


def export_glb(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write binary glTF."""
    write_glb(path, point_scene(sequence, options, FILE_POINTS), f"dpm {__version__}")


def export_usd(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write binary USD.

    Raises:
        MissingExtraError: the extra `usd` is not installed.
    """
    write_usd(path, point_scene(sequence, options, FILE_POINTS))


def point_scene(sequence: Sequence4D, options: ExportOptions, most: tuple[int, int]) -> PointScene:
    """Cameras and points; `most` still and moving ones where the user names no number of still ones.

    Raises:
        InputError: there is no point to show.
    """
    count, shots = len(sequence), len(np.unique(sequence.shot))
    if shots > 1:
        options.reporter.note(f"{shots} shots lie over each other: cut the video for one file each")
    share = replace(options, max_points=max(most[1] // count, _FRAME_POINTS))
    still = static_cloud(sequence, replace(options, max_points=options.max_points or most[0]))
    moving = [moving_cloud(sequence, t, share) for t in range(count)]
    if not len(still) + sum(map(len, moving)):
        raise InputError("there is no point to show: lower --min-confidence")
    pause = _SHORTEST_S * np.arange(count)
    return PointScene(
        name=sequence.name,
        model=sequence.model,
        still=still,
        moving=moving,
        cam2world=sequence.cam2world,
        intrinsics=sequence.intrinsics,
        size=sequence.size,
        timestamps=np.maximum.accumulate(sequence.timestamps - pause) + pause,
        first=int(np.argmax(sequence.camera_ok)),
    )

"""Whole scenes in one file: what stands still once, what moves frame by frame, and the cameras."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dpm_cli import __version__
from dpm_cli.export.clouds import moving_cloud, static_cloud
from dpm_cli.export.options import ExportOptions
from dpm_cli.formats.glb import GlbScene, write_glb
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.viewer_page import ViewerScene, write_viewer_page
from dpm_cli.sequence import Sequence4D

_PAGE_POINTS = (300_000, 600_000)
"""Still ones, and moving ones of all frames together: a page of 11 MB at most."""
_GLB_POINTS = (1_000_000, 2_000_000)
"""A file of 48 MB at most."""
_FRAME_POINTS = 1_000
"""A frame may have that many moving points however long the clip is."""


def export_html(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write the web page with the viewer."""
    still, moving = _clouds(sequence, options, _PAGE_POINTS)
    scene = ViewerScene(
        name=sequence.name,
        model=sequence.model,
        still=still,
        moving=moving,
        cam2world=sequence.cam2world,
        intrinsics=sequence.intrinsics,
        size=sequence.size,
        timestamps=sequence.timestamps,
    )
    write_viewer_page(path, scene)


def export_glb(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write binary glTF; its one camera has the median field of view, for core glTF has no zoom."""
    still, moving = _clouds(sequence, options, _GLB_POINTS)
    height, width = sequence.size
    focal_px = float(np.median(sequence.intrinsics[:, 1, 1]))
    scene = GlbScene(
        still=still,
        moving=moving,
        cam2world=sequence.cam2world,
        fov_y_rad=2 * float(np.arctan(height / 2 / focal_px)),
        aspect=width / height,
        timestamps=sequence.timestamps,
    )
    write_glb(path, scene, f"dpm {__version__}")


def _clouds(
    sequence: Sequence4D, options: ExportOptions, most: tuple[int, int]
) -> tuple[PointCloud, list[PointCloud]]:
    """Still points of the clip and moving ones of every frame; `most` of each where the user names no number."""
    count = len(sequence)
    still = static_cloud(sequence, replace(options, max_points=options.max_points or most[0]))
    share = replace(options, max_points=max(most[1] // count, _FRAME_POINTS))
    return still, [moving_cloud(sequence, t, share) for t in range(count)]

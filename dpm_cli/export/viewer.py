"""The web page with the viewer."""

from dataclasses import replace
from pathlib import Path

from dpm_cli.export.clouds import moving_cloud, static_cloud
from dpm_cli.export.options import ExportOptions
from dpm_cli.formats.viewer_page import ViewerScene, write_viewer_page
from dpm_cli.sequence import Sequence4D

_STILL_POINTS = 300_000
_MOVING_POINTS = 600_000
"""Of all frames together; with the others a page of 11 MB at most."""
_FRAME_POINTS = 1_000
"""A frame may have that many however long the clip is."""


def export_html(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write what stands still once, what moves frame by frame, and the cameras."""
    count = len(sequence)
    still = replace(options, max_points=options.max_points or _STILL_POINTS)
    share = replace(options, max_points=max(_MOVING_POINTS // count, _FRAME_POINTS))
    scene = ViewerScene(
        name=sequence.name,
        model=sequence.model,
        still=static_cloud(sequence, still),
        moving=[moving_cloud(sequence, t, share) for t in range(count)],
        cam2world=sequence.cam2world,
        intrinsics=sequence.intrinsics,
        size=sequence.size,
        timestamps=sequence.timestamps,
    )
    write_viewer_page(path, scene)

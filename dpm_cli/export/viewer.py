"""The viewer's page: a scene with paths of points and the pictures of its frames."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dpm_cli.config import ExportOptions
from dpm_cli.export.sample_tracks import sample_tracks
from dpm_cli.export.scenes import point_scene
from dpm_cli.formats.viewer_page import ViewerExtras, write_viewer_page
from dpm_cli.sequence import Sequence4D

_PAGE_POINTS = (300_000, 600_000)
"""Still ones, and moving ones of all frames together: a page of 17 MB and its pictures."""
_TRACKS = 250
_PICTURE_WIDTH = 320
_SMALL_WIDTH = 160
"""Of pictures where a clip has many frames."""
_MANY = 300


def export_html(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write the web page with the viewer."""
    scene = point_scene(sequence, options, _PAGE_POINTS).mixed()
    tracks = sample_tracks(
        sequence,
        _TRACKS,
        min_confidence=options.min_confidence,
    )
    width = _SMALL_WIDTH if len(sequence) > _MANY else _PICTURE_WIDTH
    pictures = [frame_jpeg(sequence, t, width) for t in range(len(sequence))]
    extras = ViewerExtras(pictures, tracks.points, tracks.visible, tracks.colors)
    write_viewer_page(path, scene, extras)


def frame_jpeg(sequence: Sequence4D, t: int, width: int) -> bytes:
    """The image of frame `t` as a JPEG of at most `width` pixels."""
    image = sequence.read(t, "image")
    assert image is not None
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((width, 4 * width))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=75)
    return data.getvalue()

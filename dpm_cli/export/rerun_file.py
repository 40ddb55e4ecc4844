"""A recording for the Rerun viewer (.rrd, extra `rerun`): cameras, images, depth, points, paths, scene flow, times.

Entities: `world` (OpenCV axes), `world/still`, `world/moving`, `world/camera` with its image and depth, `world/path` of
the camera, `world/tracks`, `world/scene_flow`. Time lines: `frame` (number in the run), `time` (seconds of the video).
"""

import io
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpm_cli.config import ExportOptions
from dpm_cli.errors import MissingExtraError
from dpm_cli.export.sample_tracks import SampleTracks, sample_tracks
from dpm_cli.export.scenes import FILE_POINTS, point_scene
from dpm_cli.files import atomic_path
from dpm_cli.formats.scene import PointScene
from dpm_cli.sequence import FrameResult, Sequence4D

_TRACKS = 300
_TRAIL = 12
"""Frames that a path is drawn behind its point."""
_ARROWS = 2_000
_RADIUS = 0.0015
"""Of points and lines, in median distances."""


def export_rerun(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write the recording `path`.

    Raises:
        MissingExtraError: the extra `rerun` is not installed.
    """
    try:
        rr = import_module("rerun")
    except ImportError as error:
        raise MissingExtraError("rerun-sdk", "rerun") from error
    scene = point_scene(sequence, options, FILE_POINTS)
    tracks = sample_tracks(
        sequence,
        _TRACKS,
        min_confidence=options.min_confidence,
    )
    with (
        atomic_path(path) as temporary,
        options.reporter.task("rerun", len(sequence)) as advance,
    ):
        stream = rr.RecordingStream("dpm")
        stream.save(str(temporary))
        stream.send_recording_name(sequence.name)
        _log_static(rr, stream, scene)
        for t in range(len(sequence)):
            stream.set_time("frame", sequence=t)
            stream.set_time("time", duration=float(scene.timestamps[t]))
            frame = sequence.frame(t)
            _log_camera(rr, stream, sequence, t, frame)
            _log_motion(rr, stream, scene, sequence, t, frame, options)
            _log_tracks(rr, stream, scene, tracks, t)
            advance()
        stream.flush()
        stream.disconnect()


def _log_static(rr: Any, stream: Any, scene: PointScene) -> None:
    """What is there at all times."""
    radius = _RADIUS * scene.distance
    stream.log("world", rr.ViewCoordinates.RDF, static=True)
    still = rr.Points3D(scene.still.points, colors=scene.still.colors, radii=radius)
    stream.log("world/still", still, static=True)
    places = scene.cam2world[:, :3, 3].astype(np.float32)
    stream.log("world/path", rr.LineStrips3D([places], radii=radius), static=True)
    stream.log("about", rr.TextDocument(f"{scene.name}, model {scene.model}"), static=True)


def _log_camera(rr: Any, stream: Any, sequence: Sequence4D, t: int, frame: FrameResult) -> None:
    """Camera, image and depth of a frame; a camera that is not registered is taken away."""
    if not sequence.camera_ok[t]:
        stream.log("world/camera", rr.Clear(recursive=True))
        return
    pose, K = sequence.cam2world[t], sequence.intrinsics[t].copy()
    # Rerun's pixel (0, 0) is the corner of the first pixel, ours its centre.
    K[:2, 2] += 0.5
    height, width = sequence.size
    stream.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    lens = rr.Pinhole(image_from_camera=K, width=width, height=height)
    stream.log("world/camera/image", lens)
    jpeg = io.BytesIO()
    Image.fromarray(frame.image).save(jpeg, "JPEG", quality=92)
    picture = rr.EncodedImage(contents=jpeg.getvalue(), media_type="image/jpeg")
    stream.log("world/camera/image/rgb", picture)
    depth = np.where(frame.valid, frame.depth, 0).astype(np.float32)
    stream.log("world/camera/image/depth", rr.DepthImage(depth, meter=1.0))


def _log_motion(
    rr: Any,
    stream: Any,
    scene: PointScene,
    sequence: Sequence4D,
    t: int,
    frame: FrameResult,
    options: ExportOptions,
) -> None:
    """Moving points, and arrows to where they are in the next frame."""
    cloud, radius = scene.moving[t], _RADIUS * scene.distance
    stream.log("world/moving", rr.Points3D(cloud.points, colors=cloud.colors, radii=radius))
    moves = frame.valid & (frame.dynamic > sequence.motion_threshold)
    moves &= (frame.confidence >= options.min_confidence) & sequence.camera_ok[t]
    if frame.scene_flow_fwd is None or not moves.any():
        stream.log("world/scene_flow", rr.Clear(recursive=False))
        return
    chosen = np.flatnonzero(moves)
    chosen = chosen[:: -(-len(chosen) // _ARROWS)]
    points = frame.points(sequence.cam2world[t], sequence.intrinsics[t]).reshape(-1, 3)
    vectors = frame.scene_flow_fwd.reshape(-1, 3)
    stream.log(
        "world/scene_flow",
        rr.Arrows3D(origins=points[chosen], vectors=vectors[chosen], radii=radius / 2),
    )


def _log_tracks(rr: Any, stream: Any, scene: PointScene, tracks: SampleTracks, t: int) -> None:
    """The last steps of the paths of points that are seen now."""
    seen = tracks.visible[t]
    trail = tracks.points[max(0, t - _TRAIL) : t + 1, seen].transpose(1, 0, 2)
    lines = rr.LineStrips3D(trail, colors=tracks.colors[seen], radii=_RADIUS * scene.distance / 2)
    stream.log("world/tracks", lines)

"""What a person looks at first: stills, a contact sheet, the scene from the side, a short mp4.

Low-confidence and invalid pixels are dark grey. Colours of depth and flow have one scale for the whole clip.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dpm_cli.ahead import WRITERS, in_order
from dpm_cli.config import ExportOptions
from dpm_cli.errors import DpmError
from dpm_cli.export.cloud_view import ViewCamera, render_cloud, side_camera
from dpm_cli.export.clouds import frame_cloud
from dpm_cli.export.pictures import (
    depth_bar,
    depth_picture,
    flow_picture,
    mask_picture,
    wheel_picture,
)
from dpm_cli.export.spread import spread
from dpm_cli.files import atomic_path
from dpm_cli.formats.flo import FlowField
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import FrameResult, Sequence4D
from dpm_cli.video.encode import write_mp4

_STILLS = 6
_MOVIE_FRAMES = 300
_MOVIE_FPS = (5.0, 30.0)
_TILE_WIDTH = 320
_SCALE_FRAMES = 24


@dataclass(frozen=True)
class ColourScale:
    """The ends of the colour scales, one for the clip."""

    near_far: tuple[float, float]
    longest_flow_px: float


def write_previews(
    sequence: Sequence4D,
    folder: Path,
    *,
    min_confidence: float = 0.0,
    reporter: Reporter | None = None,
) -> None:
    """Write depth, flow, mask and side-view stills, `contact_sheet.png` and `preview.mp4` into `folder`.

    Without a working ffmpeg the mp4 is left out and the user is told.
    """
    reporter = reporter or SilentReporter()
    options = ExportOptions(min_confidence=min_confidence)
    scale = colour_scale(sequence, options)
    chosen = stills_of(sequence)
    drawn = in_order(lambda t: still_pictures(sequence, t, scale, options), chosen, WRITERS)
    stills = dict(zip(chosen, drawn, strict=True))
    for t, pictures in stills.items():
        for name, picture in pictures.items():
            if name != "image":
                save_picture(folder / f"{name}_{t:06d}.png", picture)
    save_picture(folder / "flow_wheel.png", wheel_picture(201))
    save_picture(folder / "depth_bar.png", depth_bar(scale.near_far, _TILE_WIDTH))
    save_picture(folder / "contact_sheet.png", contact_sheet(sequence, stills, scale))
    used = spread(len(sequence), _MOVIE_FRAMES)
    with reporter.task("preview", len(used)) as advance:
        frames = _movie_frames(sequence, used, scale, options, advance)
        try:
            write_mp4(folder / "preview.mp4", frames, _movie_fps(sequence, len(used)), quality=23)
        except DpmError as error:
            reporter.note(f"no preview.mp4: {error}")


def stills_of(sequence: Sequence4D) -> list[int]:
    """Frames that stand for the clip."""
    return spread(len(sequence), _STILLS)


def still_pictures(
    sequence: Sequence4D, t: int, scale: ColourScale, options: ExportOptions
) -> dict[str, np.ndarray]:
    """image, depth, flow, mask and side view of frame `t`, each (H, W, 3) uint8."""
    pictures = frame_pictures(sequence.frame(t), scale, options, sequence.motion_threshold)
    return {**pictures, "side": side_picture(sequence, t, options)}


def contact_sheet(
    sequence: Sequence4D, stills: dict[int, dict[str, np.ndarray]], scale: ColourScale
) -> np.ndarray:
    """All stills (H, W, 3) uint8: a row a frame, and the bar of depth below."""
    rows = [_row(f"frame {t}  {sequence.timestamps[t]:.2f} s", p) for t, p in stills.items()]
    bar = depth_bar(scale.near_far, _TILE_WIDTH)
    legend = np.full((len(bar), rows[0].shape[1], 3), 255, np.uint8)
    legend[:, _TILE_WIDTH : 2 * _TILE_WIDTH] = bar
    return np.concatenate((*rows, legend))


def export_preview(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write the pictures of `write_previews` into the folder `path`."""
    write_previews(
        sequence,
        path,
        min_confidence=options.min_confidence,
        reporter=options.reporter,
    )


def colour_scale(sequence: Sequence4D, options: ExportOptions) -> ColourScale:
    """Percentiles of depth and flow length over frames spread through the clip."""
    depths, lengths = [], []
    for t in spread(len(sequence), _SCALE_FRAMES):
        frame = sequence.frame(t)
        depths.append(frame.depth[_shown(frame, options)][::7])
        field = shown_flow(frame)
        if field is not None:
            lengths.append(np.linalg.norm(field.flow[field.valid][::7], axis=-1))
    depth = np.concatenate(depths)
    length = np.concatenate(lengths) if lengths else np.zeros(0)
    near, far = np.quantile(depth, (0.02, 0.98)) if len(depth) else (1.0, 2.0)
    longest = float(np.quantile(length, 0.98)) if len(length) else 1.0
    return ColourScale((float(near), float(max(far, near * 1.001))), max(longest, 1.0))


def _shown(frame: FrameResult, options: ExportOptions) -> np.ndarray:
    return frame.valid & (frame.confidence >= options.min_confidence) & (frame.depth > 0)


def shown_flow(frame: FrameResult) -> FlowField | None:
    """Forward flow, on the last frame the backward flow turned round, None for a single frame."""
    if frame.flow_fwd is not None and frame.flow_fwd_valid is not None:
        return FlowField(frame.flow_fwd, frame.valid | frame.flow_fwd_valid)
    if frame.flow_bwd is not None and frame.flow_bwd_valid is not None:
        return FlowField(-frame.flow_bwd, frame.valid | frame.flow_bwd_valid)
    return None


def frame_pictures(
    frame: FrameResult, scale: ColourScale, options: ExportOptions, motion_threshold: float
) -> dict[str, np.ndarray]:
    """image, depth, flow and mask of one frame, each (H, W, 3) uint8."""
    field = shown_flow(frame)
    blank = np.full_like(frame.image, 38)
    return {
        "image": frame.image,
        "depth": depth_picture(frame.depth, _shown(frame, options), scale.near_far),
        "flow": blank
        if field is None
        else flow_picture(field.flow, field.valid, scale.longest_flow_px),
        "mask": mask_picture(frame.image, frame.dynamic > motion_threshold),
    }


def side_picture(sequence: Sequence4D, t: int, options: ExportOptions) -> np.ndarray:
    """The cloud of frame `t` (H, W, 3) seen from the right and above; grey where there is no point."""
    cloud = frame_cloud(sequence, t, options)
    camera = ViewCamera(sequence.cam2world[t], sequence.intrinsics[t], sequence.size)
    return render_cloud(cloud, side_camera(cloud, camera) if len(cloud) else camera)


def _movie_frames(
    sequence: Sequence4D, used: list[int], scale: ColourScale, options: ExportOptions, advance
) -> Iterator[np.ndarray]:
    """Image and depth above flow and mask."""
    threshold = sequence.motion_threshold
    for p in in_order(
        lambda t: frame_pictures(sequence.frame(t), scale, options, threshold), used, WRITERS
    ):
        advance()
        yield np.concatenate(
            (np.concatenate((p["image"], p["depth"]), 1), np.concatenate((p["flow"], p["mask"]), 1))
        )


def _movie_fps(sequence: Sequence4D, count: int) -> float:
    """Real time where that is watchable."""
    duration = float(sequence.timestamps[-1] - sequence.timestamps[0])
    return float(np.clip((count - 1) / duration if duration > 0 else 0, *_MOVIE_FPS))


def _row(label: str, pictures: dict[str, np.ndarray]) -> np.ndarray:
    """One line of the contact sheet: names above equally wide tiles."""
    height, width = pictures["image"].shape[:2]
    size = (_TILE_WIDTH, max(1, round(height * _TILE_WIDTH / width)))
    tiles = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in pictures.values()]
    head = np.full((22, _TILE_WIDTH * len(tiles), 3), 255, np.uint8)
    for column, name in enumerate(pictures):
        text = label if name == "image" else name
        at = (column * _TILE_WIDTH + 6, 16)
        cv2.putText(head, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate((head, np.concatenate(tiles, 1)))


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a PNG atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, compress_level=4)

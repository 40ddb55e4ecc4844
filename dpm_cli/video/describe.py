"""Facts of a video or an image folder as plain values, for `dpm info`."""

from pathlib import Path
from typing import Any

from dpm_cli.video.images import image_size
from dpm_cli.video.inputs import clip_files
from dpm_cli.video.probe import probe


def describe_video(path: Path) -> dict[str, Any]:
    """Size after rotation, rate, times and what else matters of a video.

    Raises:
        InputError: it cannot be read.
    """
    info = probe(path)
    times = info.timestamps
    return {
        "kind": "video",
        "path": str(path),
        "width": info.size[1],
        "height": info.size[0],
        "frames": len(info),
        "fps": round(info.fps, 6),
        "variable_rate": info.variable_rate,
        "duration_s": round(info.duration_s, 6),
        "first_frame_s": round(float(times[0]), 6),
        "last_frame_s": round(float(times[-1]), 6),
        "codec": info.codec,
        "rotation_deg": info.rotation_deg,
        "pixel_aspect": round(info.pixel_aspect, 6),
        "hdr": info.hdr or None,
        "interlaced": info.interlaced,
        "notes": list(info.notes),
    }


def describe_images(path: Path) -> dict[str, Any]:
    """Number and size of the images in a folder, or of one image.

    Raises:
        InputError: no images, or the first cannot be read.
    """
    files = clip_files([str(path)])
    height, width = image_size(files[0])
    return {
        "kind": "images",
        "path": str(path),
        "width": width,
        "height": height,
        "frames": len(files),
        "first": files[0].name,
        "last": files[-1].name,
    }

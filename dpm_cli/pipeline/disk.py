"""How much disk a run takes at its fullest, and whether that much is free before it starts."""

import shutil
from pathlib import Path

from dpm_cli.errors import DpmError

_IMAGE = 3
_FRAME = 58
"""Bytes a pixel of `frames/`: picture, depth, confidence, masks, scene flow and flow to both sides."""
_MOTION = 46
"""Of what the rounds over the frames keep until the end."""
_PASS = 21
"""Of a stored pass, both views."""
_NEIGHBOURS = 32
"""What a pass of neighbouring frames stores in addition."""
_CLOUD = 23
"""Of a point of `points/` and its share of the pictures."""
_FLOW = 17
"""A pixel of the source: `flow/` both ways, and a mask."""
_SMALL_FILES = 2**20


def run_bytes(
    frames: int, pixels: int, source_pixels: int, pairs: int, formats: tuple[str, ...]
) -> int:
    """Bytes of a run at its fullest: with its work folder, or, when that is gone, with its outputs.

    Args:
        frames: of the clip.
        pixels: of a working image.
        source_pixels: of a source image.
        pairs: that are predicted.
        formats: what is written beside the frames.
    """
    kept = frames * pixels * _FRAME + _SMALL_FILES
    work = frames * pixels * (_IMAGE + _MOTION + _NEIGHBOURS) + pairs * pixels * _PASS
    outputs = frames * pixels * _CLOUD if {"ply", "preview"} & set(formats) else 0
    outputs += frames * source_pixels * _FLOW if {"flo", "masks"} & set(formats) else 0
    return kept + max(work, outputs)


def require_space(folder: Path, needed_bytes: int, there_bytes: int) -> None:
    """Refuse to start what does not fit; `there_bytes` of it are in `folder` already.

    Raises:
        DpmError: less is free.
    """
    parent = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(parent).free
    if needed_bytes - there_bytes > free:
        raise DpmError(
            f"{folder}: the run needs about {_size(needed_bytes - there_bytes)} of disk and {_size(free)} is free: "
            "choose another place with -o, a smaller --size, or fewer frames"
        )


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"

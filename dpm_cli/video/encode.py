"""Frames to an mp4 that every player shows, through ffmpeg's standard input."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dpm_cli.errors import DpmError
from dpm_cli.files import atomic_path
from dpm_cli.video.ffmpeg import executable, last_error


def write_mp4(path: Path, frames: Iterable[np.ndarray], fps: float, *, quality: int = 20) -> None:
    """Write RGB frames (H, W, 3) uint8 of one size as H.264, atomically; `quality` is x264's CRF.

    An odd side is enlarged by one pixel, because the usual chroma format needs even sizes.

    Raises:
        DpmError: ffmpeg fails.
    """
    stream = iter(frames)
    first = next(stream)
    height, width = first.shape[:2]
    command = [executable(), "-hide_banner", "-nostats", "-loglevel", "level+error", "-y"]
    command += [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{width}x{height}",
        "-r",
        f"{fps:.6f}",
        "-i",
        "-",
    ]
    command += ["-vf", f"scale={width + width % 2}:{height + height % 2}:flags=neighbor"]
    command += [
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        "-crf",
        str(quality),
        "-preset",
        "veryfast",
    ]
    command += ["-threads", "2", "-movflags", "+faststart"]
    with atomic_path(path) as temporary:
        process = subprocess.Popen(
            [*command, f"file:{temporary}"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        try:
            process.stdin.write(np.ascontiguousarray(first).data)
            for frame in stream:
                process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            pass
        _, stderr = process.communicate()
        if process.returncode:
            raise DpmError(
                f"{path} cannot be encoded: {last_error(stderr.decode(errors='replace'))}"
            )

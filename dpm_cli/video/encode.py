"""Frames to an mp4 that every player shows, through ffmpeg's standard input."""

import itertools
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from dpm_cli.errors import DpmError
from dpm_cli.files import atomic_path
from dpm_cli.video.ffmpeg import executable, last_error
from dpm_cli.video.watched import Watched


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
        with Watched([*command, f"file:{temporary}"], talks=True) as child:
            log: list[bytes] = []
            reader = threading.Thread(target=child.collect, args=(child.stderr, log), daemon=True)
            reader.start()
            with suppress(BrokenPipeError):
                for frame in itertools.chain((first,), stream):
                    child.say(np.ascontiguousarray(frame).data)
            child.end_of_talk()
            reader.join()
            fault = child.wait()
        if fault or child.process.returncode:
            reason = fault or last_error(b"".join(log).decode(errors="replace"))
            raise DpmError(f"{path} cannot be encoded: {reason}")

"""The ffmpeg binary as a subprocess: where it is, and how its complaints become one line."""

import functools
import os
import re
import shutil
from fractions import Fraction
from pathlib import Path

from dpm_cli.errors import DpmError, InputError
from dpm_cli.picture_limit import MOST_PIXELS
from dpm_cli.video.motion_photo import film_start
from dpm_cli.video.watched import Said, run_watched

_NOISE = re.compile(
    r"Error opening (?:input|output)|Conversion failed|Exiting|Last message repeated|^\s*$"
)
_TAG = re.compile(r"^(?:\[[^\]]*\]\s*)+")


@functools.cache
def executable() -> str:
    """Path of ffmpeg: `DPM_FFMPEG`, else the one that imageio-ffmpeg brings or finds.

    Raises:
        DpmError: there is none, or `DPM_FFMPEG` names none.
    """
    chosen = os.environ.get("DPM_FFMPEG")
    if chosen and shutil.which(chosen) is None:
        raise DpmError(f"DPM_FFMPEG={chosen} is no program: name the ffmpeg binary, or unset it")
    if chosen:
        return chosen
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        way_out = "pip install imageio-ffmpeg, or set DPM_FFMPEG to a binary"
        raise DpmError(f"videos need ffmpeg, and there is none: {way_out}") from error


def ask(*arguments: str) -> Said:
    """What ffmpeg says to these arguments.

    Raises:
        DpmError: it cannot be run, hangs or crashes.
    """
    said = run_watched([executable(), *arguments])
    if said.fault:
        raise DpmError(f"{executable()} {said.fault}")
    return said


def read_by_ffmpeg(path: Path, *arguments: str) -> Said:
    """The same of a file that is decoded or listed.

    Raises:
        InputError: it hangs, crashes or does not end.
    """
    said = run_watched([executable(), *arguments])
    if said.fault:
        raise InputError(undecodable(path, said.fault))
    return said


def undecodable(path: Path, fault: str) -> str:
    """The line for a file at which ffmpeg did something wrong."""
    return f"{path} cannot be decoded: ffmpeg {fault}"


@functools.cache
def has_filter(name: str) -> bool:
    """Whether the binary was built with the video filter `name`."""
    listing = ask("-hide_banner", "-filters")
    return re.search(rf"^\s*\S+\s+{name}\s", listing.stdout, re.MULTILINE) is not None


@functools.cache
def every_frame_once() -> list[str]:
    """Option that hands every frame on with its own time; without it ffmpeg pads to a constant rate.

    It was renamed in FFmpeg 5.1, and the old name was dropped later.
    """
    options = ask("-hide_banner", "-h", "long")
    return ["-fps_mode" if "-fps_mode" in options.stdout else "-vsync", "passthrough"]


class ShownTimes:
    """Presentation times from the log of ffmpeg's `showinfo` filter, one line a frame."""

    _TIME_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
    _FRAME = re.compile(r"\bn:\s*\d+ pts:\s*(-?\d+)")

    def __init__(self):
        self.time_base = Fraction(1)
        """Seconds; the stream's, known from the first lines of the log on."""

    def read(self, line: str) -> int | None:
        """Time in units of `time_base` if the line is of a frame."""
        if "showinfo" not in line:
            return None
        base = self._TIME_BASE.search(line)
        if base:
            self.time_base = Fraction(int(base.group(1)), int(base.group(2)))
        frame = self._FRAME.search(line)
        return int(frame.group(1)) if frame else None


def input_arguments(path: Path) -> list[str]:
    """`-i` with a name that ffmpeg cannot take for an option, a pattern or a protocol; of a motion photo its film.

    Pictures of more than `MOST_PIXELS` are not decoded.
    """
    start = film_start(path)
    most = ["-max_pixels", str(MOST_PIXELS)]
    part = "" if start is None else f"subfile,,start,{start},end,{path.stat().st_size},,:"
    return [*most, "-i", f"{part}file:{path}"]


def errors_of(stderr: str) -> list[str]:
    """The lines that ffmpeg logged as errors (with `-loglevel level+...`), without its tags and noise."""
    lines = [line for line in stderr.splitlines() if "[error]" in line or "[fatal]" in line]
    cleaned = [_TAG.sub("", line).strip() for line in lines]
    return [line for line in cleaned if not _NOISE.search(line)]


def last_error(stderr: str) -> str:
    """The last error that says something."""
    return (errors_of(stderr) or ["it holds no frames"])[-1]

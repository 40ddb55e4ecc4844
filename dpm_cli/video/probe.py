"""What a video holds: size after rotation, true presentation times, rotation, dynamic range.

Times are listed per packet without decoding (`-c copy -f framecrc`, users of imageio-ffmpeg have no other way to them);
packets come in decoding order and are sorted. Sizes are measured on the first decoded frame, because only decoding
applies the rotation metadata.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.picture_limit import too_large
from dpm_cli.structures import LensData
from dpm_cli.video.camera_data import lens_of_video
from dpm_cli.video.ffmpeg import (
    ShownTimes,
    errors_of,
    every_frame_once,
    input_arguments,
    last_error,
    read_by_ffmpeg,
)
from dpm_cli.video.watched import Said

_FIELDS = re.compile(r"\b(?:top|bottom) (?:first|coded first)")
_SHOWN_SIZE = re.compile(r"showinfo.*\bn:\s*0 .*\bs:(\d+)x(\d+)")
_TOO_LARGE = "exceeds specified max pixel count"
_TRANSFERS = {"arib-std-b67": "hlg", "smpte2084": "pq"}


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """Facts of one video file."""

    path: Path
    size: tuple[int, int]
    """(height, width) of the decoded picture, rotation applied."""
    pixel_aspect: float
    """Width of a pixel divided by its height, rotation applied."""
    pts: np.ndarray
    """(T,) int64 presentation times in units of `time_base`, ascending."""
    time_base: Fraction
    """Seconds."""
    start: Fraction
    """Presentation time in seconds at which the file starts; subtracted from all times."""
    duration_s: float
    """Seconds from the first frame to the end of the last."""
    codec: str
    rotation_deg: int
    hdr: str
    """hlg, pq, or empty for standard dynamic range."""
    interlaced: bool = False
    """Whether the file says that its frames are made of two fields of different times."""
    lens: LensData | None = None
    """What the camera wrote about its lens."""
    notes: tuple[str, ...] = ()
    """What is wrong with the file although it can be read."""

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def timestamps(self) -> np.ndarray:
        """(T,) float64 presentation times in seconds from the start of the file."""
        ticks = self.start / self.time_base
        return (self.pts - float(ticks)) * float(self.time_base)

    @property
    def fps(self) -> float:
        """Mean rate; 0 for a single frame."""
        times = self.timestamps
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0

    @property
    def variable_rate(self) -> bool:
        """Whether the distances between frames differ by more than rounding to the time base."""
        steps = np.diff(self.pts)
        return bool(len(steps)) and int(steps.max() - steps.min()) > max(1, int(steps.mean() // 50))


def probe(path: Path | str) -> VideoInfo:
    """Read the facts of a video.

    Raises:
        InputError: missing, empty, not a video, or no frame can be decoded.
    """
    path = Path(path)
    _check_file(path)
    listing = _read(path, "-c", "copy", "-f", "framecrc", "-")
    pts, time_base = _parse_framecrc(listing.stdout)
    if len(np.unique(pts)) < max(len(pts), 1):
        # Damaged files and old containers tell some times only when they are decoded.
        pts, time_base = _decode_times(path)
    if not len(pts):
        raise InputError(f"{path} cannot be read as a video: {_reason(path, listing.stderr)}")
    start = _start(listing.stderr, time_base)
    shown = pts[pts >= float(start / time_base)]
    stream = next((line for line in listing.stderr.splitlines() if "Video:" in line), "")
    rotation = re.search(r"rotation of (-?[\d.]+) degrees", listing.stderr)
    rotation_deg = round(float(rotation.group(1))) if rotation else 0
    codec = re.search(r"Video: (\w+)", stream)
    step = (shown[-1] - shown[0]) / (len(shown) - 1) if len(shown) > 1 else 0
    return VideoInfo(
        path=path,
        size=_decoded_size(path),
        pixel_aspect=_pixel_aspect(listing.stdout, rotation_deg),
        pts=shown,
        time_base=time_base,
        start=start,
        duration_s=float((shown[-1] - shown[0] + step) * time_base),
        codec=codec.group(1) if codec else "unknown",
        rotation_deg=rotation_deg,
        lens=lens_of_video(path, listing.stderr),
        interlaced=_FIELDS.search(stream) is not None,
        hdr=next((name for tag, name in _TRANSFERS.items() if tag in stream), ""),
        notes=_damage(path, listing.stderr, len(shown)),
    )


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a video")
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: copy or record it again")


def _read(path: Path, *output: str) -> Said:
    """Run over the first video stream that is not a cover picture; times stay those of the file."""
    options = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info", "-copyts")
    return read_by_ffmpeg(path, *options, *input_arguments(path), "-map", "0:V:0", *output)


def _parse_framecrc(text: str) -> tuple[np.ndarray, Fraction]:
    """Sorted presentation times and the time base of a listing `stream, dts, pts, duration, ...`."""
    base = re.search(r"#tb 0: (\d+)/(\d+)", text)
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    pts = np.sort(np.array([int(row[2]) for row in rows], np.int64))
    return pts, Fraction(int(base.group(1)), int(base.group(2))) if base else Fraction(1)


def _decode_times(path: Path) -> tuple[np.ndarray, Fraction]:
    """Sorted presentation times and their time base of all frames that can be decoded."""
    result = _read(path, "-vf", "showinfo=checksum=0", *every_frame_once(), "-f", "null", "-")
    shown = ShownTimes()
    times = [shown.read(line) for line in result.stderr.splitlines()]
    return np.unique(np.array([pts for pts in times if pts is not None], np.int64)), shown.time_base


def _start(stderr: str, time_base: Fraction) -> Fraction:
    """Start of the file in seconds; ffmpeg prints microseconds, a tick that near is what was meant."""
    found = re.search(r"Duration: .*?start: (-?[\d.]+)", stderr)
    printed = Fraction(found.group(1)) if found else Fraction(0)
    tick = round(printed / time_base) * time_base
    return tick if abs(tick - printed) <= Fraction(1, 10**6) else printed


def _pixel_aspect(text: str, rotation_deg: int) -> float:
    found = re.search(r"#sar 0: (\d+)/(\d+)", text)
    aspect = int(found.group(1)) / int(found.group(2)) if found and int(found.group(1)) else 1.0
    return 1 / aspect if rotation_deg % 180 else aspect


def _decoded_size(path: Path) -> tuple[int, int]:
    """(height, width) of the first decoded frame."""
    said = _read(path, "-frames:v", "1", "-vf", "showinfo=checksum=0", "-f", "null", "-")
    shown = _SHOWN_SIZE.search(said.stderr)
    if shown is None:
        if _TOO_LARGE in said.stderr:
            raise InputError(too_large(path, "its pictures"))
        raise InputError(f"{path}: no frame can be decoded: {last_error(said.stderr)}")
    return int(shown.group(2)), int(shown.group(1))


def _reason(path: Path, stderr: str) -> str:
    """Why there is no video, with the way out where the reason tells it."""
    if "matches no streams" in stderr:
        return "it has no video stream"
    if "moov atom not found" in stderr:
        with open(path, "rb") as file:
            if b"ftyp" in file.read(64):
                return "its index is missing, the file was cut off while recording or copying; copy it again"
        return "it is of no video format that ffmpeg knows"
    return last_error(stderr)


def _damage(path: Path, stderr: str, count: int) -> tuple[str, ...]:
    errors = errors_of(stderr)
    return (f"{path.name} is damaged ({errors[-1]}); it lists {count} frames",) if errors else ()

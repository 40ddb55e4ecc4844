"""What a camera wrote about its lens: the focal length in terms of 35 mm film, of photos (EXIF) and videos.

Phones write it into the metadata of the film or of its track (Apple's key), GoPros their field of view into a box of
their own, and DJI's drones a focal length a frame into subtitles, in the film or in a file beside it. What Android
phones write of a film (`com.android.*`, Samsung's `smta`) tells no lens.

By its definition (CIPA DCG-001) such a focal length gives the same diagonal field of view on film, 36 x 24 mm.
"""

import re
from pathlib import Path

from PIL import UnidentifiedImageError

from dpm_cli.structures import FILM_DIAGONAL_MM, LensData
from dpm_cli.video.ffmpeg import executable, input_arguments
from dpm_cli.video.gopro import gopro_lens
from dpm_cli.video.images import open_image
from dpm_cli.video.mp4_boxes import boxes, metadata_items, whole
from dpm_cli.video.watched import run_watched

_EXIF_IFD = 0x8769
_FOCAL_35MM = 0xA405
_WIDTH, _HEIGHT = 0xA002, 0xA003
_ASPECT = 1.02
"""Photos whose sides are no longer in the ratio that the camera wrote were cropped."""
_ALIKE = 1.05
"""Photos of one clip whose focal lengths differ more were taken with different lenses."""
_PHOTO_SIGMA = 0.05
"""Deviation of log focal length: whole millimetres, and makers that mean the width and not the diagonal."""
_VIDEO_SIGMA = 0.15
"""Of videos, which show less than the lens does where they are stabilised or crop the sensor."""
_BENT_SIGMA = 0.2
"""Of lenses that bend straight lines, which no single focal length describes."""
_SUBTITLES = re.compile(r"\[focal_len\s*:\s*([\d.]+)\](?:[^\[]*\[dzoom_ratio\s*:\s*([\d.]+))?")
"""One value a frame, and how much of the picture the camera magnified; some drones write tenths of a millimetre and
ten thousandths of the ratio, as whole numbers."""
_READ_BYTES = 1 << 22
_READ_S = "60"
_TENTHS_FROM = 100
_RATIOS_FROM = 1000
_FOCAL_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
_FILM_SUFFIXES = frozenset((".mp4", ".mov", ".m4v", ".lrv", ".3gp", ".qt", ".360"))


def lens_of_photos(paths: tuple[Path, ...]) -> LensData | None:
    """What all photos that say something agree on, else None."""
    found = [focal for path in paths if (focal := _focal_35mm(path)) is not None]
    if not found or max(found) > _ALIKE * min(found):
        return None
    return LensData(sorted(found)[len(found) // 2], _PHOTO_SIGMA)


def lens_of_video(path: Path, log: str) -> LensData | None:
    """What the film says; `log` is what ffmpeg prints of it."""
    return _lens_of_boxes(path) or _lens_of_subtitles(path, log)


def _lens_of_boxes(path: Path) -> LensData | None:
    if path.suffix.lower() not in _FILM_SUFFIXES:
        return None
    with open(path, "rb") as file:
        gopro = gopro_lens(file)
        film = whole(file)
        places = (*boxes(file, film, b"moov"), *boxes(file, film, b"moov", b"udta"))
        places += (*boxes(file, film, b"moov", b"trak"),)
        items = [item for place in places for item in metadata_items(file, place)]
    if gopro is not None:
        focal = gopro.focal_diagonals * FILM_DIAGONAL_MM / 2
        return LensData(focal, _VIDEO_SIGMA if gopro.straight else _BENT_SIGMA, str(gopro))
    words = (str(value) for key, value in items if key == _FOCAL_KEY)
    focal = next((f for w in words if (f := _number(w.removesuffix("mm"))) > 0), None)
    return None if focal is None else LensData(focal, _VIDEO_SIGMA)


def _lens_of_subtitles(video: Path, log: str) -> LensData | None:
    """From a drone's subtitles, None where there are none or the lens zooms."""
    beside = next((p for s in (".SRT", ".srt") if (p := video.with_suffix(s)).is_file()), None)
    if beside is not None:
        with open(beside, errors="replace") as file:
            text = file.read(_READ_BYTES)
    elif "Subtitle:" in log:
        command = [executable(), "-nostdin", "-loglevel", "error", *input_arguments(video)]
        command += ["-map", "0:s:0", "-t", _READ_S, "-f", "srt", "-"]
        text = run_watched(command).stdout[:_READ_BYTES]
    else:
        return None
    found = [focal for pair in _SUBTITLES.findall(text) if (focal := _drone_focal(*pair)) > 0]
    if not found or max(found) > _ALIKE * min(found):
        return None
    return LensData(sorted(found)[len(found) // 2], _VIDEO_SIGMA)


def _drone_focal(focal: str, zoom: str) -> float:
    """Millimetres, with what the camera magnified; 0 where nothing is told."""
    value, ratio = _number(focal), _number(zoom) or 1.0
    if "." not in focal and value >= _TENTHS_FROM:
        value /= 10
    return value * (ratio / 10_000 if ratio >= _RATIOS_FROM else ratio)


def _number(word: str) -> float:
    """0 for what is none."""
    try:
        return float(word)
    except ValueError:
        return 0.0


def _focal_35mm(path: Path) -> float | None:
    try:
        with open_image(path) as image:
            exif = image.getexif().get_ifd(_EXIF_IFD)
            sides = image.size
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return None
    try:
        focal = float(exif.get(_FOCAL_35MM) or 0)
        written = (float(exif.get(_WIDTH) or sides[0]), float(exif.get(_HEIGHT) or sides[1]))
    except (TypeError, ValueError):
        return None
    ratio = max(sides) / min(sides) * min(written) / max(max(written), 1)
    return focal if focal > 0 and 1 / _ASPECT < ratio < _ASPECT else None

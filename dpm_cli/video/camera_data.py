"""What a camera wrote about its lens: the focal length in terms of 35 mm film, of photos (EXIF) and videos.

Videos say it in their metadata (QuickTime), or a drone in the subtitles that it writes beside the film (DJI's SRT).

By its definition (CIPA DCG-001) such a focal length gives the same diagonal field of view on film, 36 x 24 mm.
"""

import re
from pathlib import Path

from PIL import UnidentifiedImageError

from dpm_cli.structures import LensData
from dpm_cli.video.images import open_image

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
_SUBTITLES = re.compile(r"\[focal_len\s*:\s*([\d.]+)\]")
"""One value a frame; older drones write tenths of a millimetre as a whole number."""
_READ_BYTES = 1 << 22
_TENTHS_FROM = 100
_QUICKTIME = re.compile(r"focal_length\.35mm_equivalent\s*:\s*([\d.]+)")


def lens_of_photos(paths: tuple[Path, ...]) -> LensData | None:
    """What all photos that say something agree on, else None."""
    found = [focal for path in paths if (focal := _focal_35mm(path)) is not None]
    if not found or max(found) > _ALIKE * min(found):
        return None
    return LensData(sorted(found)[len(found) // 2], _PHOTO_SIGMA)


def lens_of_log(log: str) -> LensData | None:
    """From what ffmpeg prints of a video's metadata."""
    found = _QUICKTIME.search(log)
    return (
        LensData(float(found.group(1)), _VIDEO_SIGMA) if found and float(found.group(1)) else None
    )


def lens_of_subtitles(video: Path) -> LensData | None:
    """From the file of subtitles beside a drone's video, None where there is none or the lens zooms."""
    beside = next((p for s in (".SRT", ".srt") if (p := video.with_suffix(s)).is_file()), None)
    if beside is None:
        return None
    with open(beside, errors="replace") as file:
        words = _SUBTITLES.findall(file.read(_READ_BYTES))
    found = [focal for word in words if (focal := _millimetres(word)) is not None]
    if not found or max(found) > _ALIKE * min(found):
        return None
    return LensData(sorted(found)[len(found) // 2], _VIDEO_SIGMA)


def _millimetres(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    if "." not in word and value >= _TENTHS_FROM:
        value /= 10
    return value if value > 0 else None


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

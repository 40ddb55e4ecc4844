"""What a GoPro writes of its field of view: GPMF, in the film's user data and in its track of telemetry.

GPMF is a row of keys, each with a type, the size of a sample, how many there are and their bytes, padded to four; type
0 holds more of the same. `ZFOV` is the field of view from corner to corner in degrees, `VFOV` the name of the digital
lens and `POLY` the angle from the axis as a polynomial of the distance from the middle of the picture.
Source: github.com/gopro/gpmf-parser, README and its issues 190 and 196.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from dpm_cli.video.mp4_boxes import Box, boxes, whole

_LENSES = {"X": "max", "W": "wide", "S": "super view", "H": "hyper view", "L": "linear"} | {
    "M": "medium",
    "N": "narrow",
}
_STRAIGHT = "L"
"""The digital lens that keeps straight lines straight."""
_WIDEST_DEG = 175.0
_FARTHEST = 3.0
"""Distance from the middle, in the polynomial's unit, up to which the corner of the picture is looked for."""


@dataclass(frozen=True)
class GoProLens:
    """Of one film."""

    model: str
    """As the camera calls itself; may be empty."""
    lens: str
    """Letter of the digital lens; may be empty."""
    fov_deg: float
    """Across the diagonal."""
    angles: tuple[float, ...]
    """Coefficients from the power 0 on; empty where the camera does not tell."""

    @property
    def straight(self) -> bool:
        """Whether the picture is that of a pinhole."""
        return self.lens == _STRAIGHT

    @property
    def focal_diagonals(self) -> float:
        """Focal length over half the diagonal of the pinhole that is right half-way from the middle to the corner."""
        half = math.radians(self.fov_deg) / 2
        if self.straight:
            return 1 / math.tan(half)
        return 0.5 / math.tan(self._angle_half_way(half))

    def _angle_half_way(self, half: float) -> float:
        """Angle from the axis, radians; a lens that does not tell is taken to spread angles evenly."""
        if self.angles:
            at = np.linspace(0, _FARTHEST, 3001)
            angle = np.polynomial.polynomial.polyval(at, self.angles)
            corner = int((angle >= half).argmax())
            if corner and angle[corner // 2] > 0:
                return float(angle[corner // 2])
        return half / 2

    def __str__(self) -> str:
        name = " ".join(w for w in ("GoPro", self.model, _LENSES.get(self.lens, "")) if w)
        bent = "" if self.straight else ", which bends straight lines"
        return f"{name}: {self.fov_deg:.0f} deg from corner to corner{bent}"


def gopro_lens(file: BinaryIO) -> GoProLens | None:
    """Of an MP4 file, None where it is none of a GoPro or does not tell its field of view."""
    film = whole(file)
    parts = [*boxes(file, film, b"moov", b"udta", b"GPMF"), *_telemetry(file, film)]
    return lens_of_gpmf([part.read(file) for part in parts])


def lens_of_gpmf(parts: list[bytes]) -> GoProLens | None:
    """From GPMF; of what stands in several places the first holds."""
    found: dict[str, str | tuple[float, ...]] = {}
    for part in parts:
        for key, value in _items(part):
            if key in ("MINF", "VFOV", "ZFOV", "POLY") and value not in ("", (), (0.0,)):
                found.setdefault(key, value)
    fov, angles = found.get("ZFOV"), found.get("POLY", ())
    if not isinstance(fov, tuple) or not 1 < fov[0] < _WIDEST_DEG or isinstance(angles, str):
        return None
    return GoProLens(str(found.get("MINF", "")), str(found.get("VFOV", "")), fov[0], angles)


def _telemetry(file: BinaryIO, film: Box) -> Iterator[Box]:
    """The first sample of each track of format gpmd."""
    for table in boxes(file, film, b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        read = {name: b"" for name in (b"stsd", b"stsz", b"stco", b"co64")}
        for name in read:
            read[name] = next((b.read(file) for b in boxes(file, table, name)), b"")
        size = int.from_bytes(read[b"stsz"][4:8], "big")
        size = size or int.from_bytes(read[b"stsz"][12:16], "big")
        wide = 8 if read[b"co64"] else 4
        at = int.from_bytes((read[b"co64"] or read[b"stco"])[8 : 8 + wide], "big")
        if read[b"stsd"][12:16] == b"gpmd" and at + size <= film.end:
            yield Box(b"gpmd", at, at + size)


def _items(data: bytes) -> Iterator[tuple[str, str | tuple[float, ...]]]:
    """Keys with text or floats in `data` and in all that is nested in it, in their order."""
    waiting = [(0, len(data))]
    while waiting:
        at, end = waiting.pop()
        if at + 8 > end:
            continue
        key, kind, each, count = struct.unpack_from(">4sBBH", data, at)
        at, used = at + 8, each * count
        waiting.append((at + used + -used % 4, end))
        if at + used > end:
            continue
        name, content = key.decode(errors="replace"), data[at : at + used]
        if kind == 0:
            waiting.append((at, at + used))
        elif kind == ord("c"):
            yield name, content.split(b"\0")[0].decode(errors="replace")
        elif kind == ord("f") and used % 4 == 0:
            values = struct.unpack(f">{used // 4}f", content)
            if all(map(math.isfinite, values)):
                yield name, values

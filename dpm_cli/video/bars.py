"""Bars: lines at the edges of a film that are no picture: letterboxes, pillars, the frame of a screen capture.

A bar has one colour over its whole length and over the whole clip (captions may stand in it), and ends in a straight
edge, behind which nearly everything is something else. A dark scene or a plain background does not end like that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpm_cli.errors import UsageError

_TOLERANCE = 12
"""Grey levels by which a pixel of a bar may differ from the bar's colour."""
_COVERED = 0.9
"""Share of the outermost line that must have the bar's colour."""
_RANGE = 0.3
"""Share of a line's pixels that the picture must lack of that colour."""
_EMPTY = 0.98
"""A frame with a larger share of that colour is no picture."""
_PLAIN = 2.0
"""Typical distance from the bar's colour, in grey levels; dark scenes are not that plain."""
_DROP = 0.65
"""How much of the difference between bar and picture must lie within three lines."""
_LONGEST = 0.45
"""A bar is not wider than this share of the side."""
_DARK = 40
"""Bars that are brighter than this must lie on opposite sides in one colour: a white sky ends straight at the sea."""
_ROUNDS = 3


@dataclass(frozen=True)
class Area:
    """A rectangle of the source, in whole pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def part(self) -> tuple[slice, slice]:
        """Its rows and columns, to cut it out of the source."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


def whole_area(size: tuple[int, int]) -> Area:
    """All of a picture of `size` (height, width)."""
    return Area(0, 0, size[1], size[0])


def shown_area(source_from_working: np.ndarray, size: tuple[int, int]) -> Area:
    """What working images of `size` (height, width) show of the source: the inverse of a crop and resize."""
    (scale_x, _, x), (_, scale_y, y) = source_from_working[:2].tolist()
    return Area(
        round(x - (scale_x - 1) / 2),
        round(y - (scale_y - 1) / 2),
        round(size[1] * scale_x),
        round(size[0] * scale_y),
    )


def parse_area(text: str, size: tuple[int, int]) -> Area:
    """`x,y,w,h` in source pixels, inside a source of `size` (height, width).

    Raises:
        UsageError: not four whole numbers, or not inside.
    """
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--crop {text}: give auto, none, or x,y,w,h in source pixels")
    area = Area(*(int(part) for part in parts))
    height, width = size
    if not (area.width > 0 and area.x + area.width <= width):
        raise UsageError(f"--crop {text}: lies outside of the source, {width}x{height}")
    if not (area.height > 0 and area.y + area.height <= height):
        raise UsageError(f"--crop {text}: lies outside of the source, {width}x{height}")
    return area


def find_bars(images: Sequence[np.ndarray]) -> Area | None:
    """The picture inside its bars, from frames (H, W, 3) uint8 spread over the clip; None where there are no bars.

    The line next to a bar is left out too: resizing and chroma mix it with the bar.
    """
    planes = np.ascontiguousarray(np.stack(images).transpose(3, 0, 1, 2))
    height, width = planes.shape[2:]
    x, y = [0, width], [0, height]
    for _ in range(_ROUNDS):
        before = (*x, *y)
        x = _inner(planes[..., y[0] : y[1], x[0] : x[1]].swapaxes(2, 3), x)
        y = _inner(planes[..., y[0] : y[1], x[0] : x[1]], y)
        if (*x, *y) == before:
            break
    area = Area(x[0], y[0], x[1] - x[0], y[1] - y[0])
    return None if area == whole_area((height, width)) else area


def _inner(planes: np.ndarray, span: list[int]) -> list[int]:
    """The span [first, last) of lines along axis 2 of (3, T, N, M) uint8 without the bars at its ends."""
    (first, colour_1), (last, colour_2) = _bar(planes), _bar(planes[:, :, ::-1])
    opposite = first and last and np.abs(colour_1 - colour_2).max() <= 2 * _TOLERANCE
    if not opposite:
        first = first if colour_1.max() <= _DARK else 0
        last = last if colour_2.max() <= _DARK else 0
    return [span[0] + first, span[1] - last]


def _bar(planes: np.ndarray) -> tuple[int, np.ndarray]:
    """Lines of the bar at the start of axis 2 of (3, T, N, M) uint8, 0 = no bar, and its colour (3,)."""
    colour = np.median(planes[:, :, 0].reshape(3, -1), axis=1)
    none = 0, colour
    if _alike(planes[:, :, :1], colour).mean() < _COVERED:
        return none
    alike = _alike(planes, colour)
    some = alike.mean((1, 2)) < _EMPTY
    if not some.any():
        return none
    share = alike[some].mean((0, 2))
    least, count = float(share.min()), len(share)
    if share[0] < _COVERED or share[0] - least < _RANGE:
        return none
    edge = int(np.argmax(share < (share[0] + least) / 2))
    drop = share[max(edge - 2, 0)] - share[min(edge + 1, count - 1)]
    thick = max(2, 0.005 * count) <= edge <= _LONGEST * count
    if not thick or drop < _DROP * (share[0] - least):
        return none
    off = np.abs(planes[:, some, :edge] - colour[:, None, None, None]).max(0)
    plain = np.median(off, axis=(0, 2)).mean() <= _PLAIN
    return (edge + 1, colour) if plain else none


def _alike(planes: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(T, N, M) bool: pixels of (3, T, N, M) uint8 of this colour (3,)."""
    alike = np.ones(planes.shape[1:], bool)
    for plane, level in zip(planes, colour, strict=True):
        low, high = np.clip((level - _TOLERANCE, level + _TOLERANCE), 0, 255).astype(np.uint8)
        alike &= (plane >= low) & (plane <= high)
    return alike

"""Which frames show a picture of their own: black, white and faded frames show none, frozen ones an earlier one.

Frames without a picture match nothing, yet a flow is found for them, which pulls at their neighbours' cameras. So only
pictures are paired and aligned, as if the clip had no other frames; the others get their place back at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from dpm_cli.geometry.rigid import interpolate
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.structures import Cameras, Clip, FrameReader

_THUMBNAIL_PX = 128
_TILE_PX = 8
_LEAST_CONTRAST = 1.5
"""Deviation of grey within a tile of the thumbnail that is more than noise and compression."""
_LEAST_SHARE = 0.01
"""Share of the tiles that must have it."""
_FAINT = 4.0
_FAINT_SHARE = 0.2
"""A frame is faded where its upper quartile of tile contrast is below both `_FAINT` and this share of the clip's."""
_GROWTH = 1.05
"""Factor a frame by which contrast grows in a fade, at least: after a frame without a picture, or before it."""
_DIP, _DIP_FRAMES = 0.6, 3
"""A flash: contrast below this share of that of frames at most so far before and after."""
_REPEAT_MEAN = 0.15
_REPEAT_BLOCK = 4.0
"""Grey levels between a picture and its repetition, on average and of the worst block of 8 pixels. Repeated frames of
videos at 0.01 to 0.2 bit a pixel had up to .07 and 4, the next frame of a slow camera 12 and 100."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """The P pictures that the T frames of a clip show."""

    shown: np.ndarray
    """(P,) int64, the first frame of each picture, ascending."""
    of_frame: np.ndarray
    """(T,) int64, the picture that each frame shows, -1 = none."""

    def __len__(self) -> int:
        return len(self.shown)

    def clip(self, clip: Clip) -> Clip:
        """The clip as if it had no other frames than these."""
        return replace(
            clip,
            frames=_Chosen(clip.frames, self.shown),
            frame_index=clip.frame_index[self.shown],
            timestamps=clip.timestamps[self.shown],
        )

    def notes(self) -> list[str]:
        """One line for each kind of frame that is no picture of its own."""
        blank = np.flatnonzero(self.of_frame < 0)
        first = np.isin(np.arange(len(self.of_frame)), self.shown)
        repeats = np.flatnonzero((self.of_frame >= 0) & ~first)
        notes = []
        if len(blank):
            notes.append(
                f"frames {_ranges(blank)} show no picture (black, white, faded): no camera and no points"
            )
        if len(repeats):
            notes.append(f"frames {_ranges(repeats)} repeat the picture before them")
        return notes

    def per_frame(self, values: np.ndarray) -> np.ndarray:
        """Values (P, ...) of the pictures for all T frames; without a picture that of the one before, or the first."""
        return values[self._nearest()]

    def cameras(self, cameras: Cameras, shot: np.ndarray) -> Cameras:
        """Cameras of all T frames; those without a picture are interpolated within their shot (P,), and marked."""
        cam2world = self.per_frame(cameras.cam2world)
        registered = self.per_frame(cameras.registered) & (self.of_frame >= 0)
        for t in np.flatnonzero(self.of_frame < 0):
            after = int(np.searchsorted(self.shown, t))
            if 0 < after < len(self) and shot[after - 1] == shot[after]:
                start, end = self.shown[after - 1], self.shown[after]
                share = torch.tensor((t - start) / (end - start), dtype=torch.float64)
                ends = torch.from_numpy(cameras.cam2world[after - 1 : after + 1])
                cam2world[t] = interpolate(ends[0], ends[1], share).numpy()
        return Cameras(cam2world, self.per_frame(cameras.intrinsics), registered)

    def _nearest(self) -> np.ndarray:
        before = np.searchsorted(self.shown, np.arange(len(self.of_frame)), side="right") - 1
        return np.maximum(before, 0)


class _Chosen:
    """Some frames of a reader."""

    def __init__(self, frames: FrameReader, numbers: np.ndarray):
        self.frames, self.numbers = frames, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Images (N, H, W, 3) uint8."""
        return self.frames.read([int(self.numbers[i]) for i in indices])


def find_pictures(frames: FrameReader, reporter: Reporter | None = None) -> Pictures:
    """Judge every frame; reads two at a time. A frame repeats a picture only where it directly follows it."""
    reporter = reporter or SilentReporter()
    count = len(frames)
    blank, contrast, repeats = np.zeros(count, bool), np.zeros(count), np.zeros(count, bool)
    kept: np.ndarray | None = None
    with reporter.task("pictures", count) as advance:
        for t in range(count):
            image = frames.read([t])[0]
            tiles = _tile_contrast(image)
            blank[t] = (tiles > _LEAST_CONTRAST).mean() < _LEAST_SHARE
            contrast[t] = np.quantile(tiles, 0.75)
            repeats[t] = kept is not None and is_repeat(kept, image)
            if not repeats[t]:
                kept = image
            advance()
    if not blank.all():
        blank |= contrast < min(_FAINT, _FAINT_SHARE * float(np.median(contrast[~blank])))
        blank |= _dips(contrast)
        blank |= _fades(contrast, blank) | _fades(contrast[::-1], blank[::-1])[::-1]
    repeats[1:] &= ~blank[:-1]
    first = ~blank & ~repeats
    return Pictures(np.flatnonzero(first), np.where(blank, -1, np.cumsum(first) - 1))


def _dips(contrast: np.ndarray) -> np.ndarray:
    """(T,) bool: frames that have lost contrast for a moment."""
    found = np.zeros(len(contrast), bool)
    for t in range(1, len(contrast) - 1):
        before = contrast[max(t - _DIP_FRAMES, 0) : t].max()
        after = contrast[t + 1 : t + 1 + _DIP_FRAMES].max()
        found[t] = contrast[t] < _DIP * min(before, after)
    return found


def _fades(contrast: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """(T,) bool: frames after a blank one as long as contrast keeps growing."""
    found = np.zeros(len(contrast), bool)
    for t in range(1, len(contrast) - 1):
        follows = blank[t - 1] or found[t - 1]
        found[t] = follows and not blank[t] and contrast[t + 1] > _GROWTH * contrast[t]
    return found


def is_repeat(picture: np.ndarray, image: np.ndarray) -> bool:
    """Whether two images (H, W, 3) uint8 differ by no more than compression."""
    difference = picture.astype(np.float32).mean(-1) - image.astype(np.float32).mean(-1)
    if np.abs(difference).mean() > _REPEAT_MEAN:
        return False
    height, width = difference.shape
    blocks = cv2.resize(
        difference, (max(1, width // 8), max(1, height // 8)), interpolation=cv2.INTER_AREA
    )
    return float(np.abs(blocks).max()) <= _REPEAT_BLOCK


def _tile_contrast(image: np.ndarray) -> np.ndarray:
    """Deviation of grey in each tile of the thumbnail, (N,)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    scale = min(1.0, _THUMBNAIL_PX / max(grey.shape))
    width, height = (max(_TILE_PX, round(side * scale)) for side in (grey.shape[1], grey.shape[0]))
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    rows, columns = height // _TILE_PX, width // _TILE_PX
    tiles = small[: rows * _TILE_PX, : columns * _TILE_PX].reshape(
        rows, _TILE_PX, columns, _TILE_PX
    )
    return tiles.std(axis=(1, 3)).ravel()


def _ranges(numbers: np.ndarray) -> str:
    """3-5, 9 of 3 4 5 9."""
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{p[0]}" if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)

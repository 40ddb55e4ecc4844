"""Loops: where the camera comes back to what it has seen long before, pairs of far frames are added, so drift closes.

Keyframes that look alike in small are candidates, if the camera has looked elsewhere in between (one that stands still
drifts little). Features that one camera motion explains, all over the picture, decide; whether the pair is believed
then is the alignment's business, as with any pair.
"""

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np

from dpm_cli.matching.features import Features, find_features, match_features
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.structures import FrameReader

KEY_STEP = 8
"""Frames between keyframes."""
_MOST_KEYFRAMES = 4000
"""Of a shot; longer ones get a wider step, because every keyframe is compared with every other."""
LEAST_GAP = 48
"""Frames apart from which a pair is a loop; nearer ones are joined by strides."""
_THUMBNAIL = (18, 32)
_WINDOW = (14, 24)
"""Of the thumbnail; it is compared at nine places, so the camera need not come back exactly."""
_ALIKE = 0.5
"""Correlation of two thumbnails that may show one place."""
_ELSEWHERE = 0.2
"""So much less must a thumbnail in between be alike."""
_CANDIDATES = 3
"""Of each keyframe."""
_MATCHING_PX = 320
_LEAST_MATCHES = 30
_EXPLAINED = 0.6
"""Share of the matches that one camera motion must explain."""
_CELLS, _LEAST_CELLS = 4, 6
"""Of 4 x 4 parts of the picture so many must hold such matches: a thing that came along is no place."""
_PICTURES = 32


@dataclass(frozen=True, eq=False)
class _Keyframes:
    """Keyframes of one shot."""

    frames: np.ndarray
    """(N,) int64."""
    alike: np.ndarray
    """(N, N) float32 correlation of their thumbnails."""


def most_loops(frames: int) -> int:
    """Pairs that are added to a clip of so many frames, at most."""
    return frames // (2 * KEY_STEP)


def find_loops(
    frames: FrameReader, shot: np.ndarray, reporter: Reporter | None = None
) -> np.ndarray:
    """Pairs (L, 2) int64 of frames i < j of one shot that show one place, in order of the later frame.

    Args:
        frames: working images.
        shot: (T,) number of the shot of each frame.
        reporter: progress.
    """
    reporter = reporter or SilentReporter()
    found: list[tuple[int, int]] = []
    for number in np.unique(shot):
        own = np.flatnonzero(shot == number)
        if len(own) > LEAST_GAP:
            found += _loops_of_shot(frames, own, reporter)
    return np.array(sorted(found, key=lambda p: (p[1], p[0])), np.int64).reshape(-1, 2)


def with_loops(pairs: np.ndarray, loops: np.ndarray) -> np.ndarray:
    """Both in one list (E, 2), sorted as `pair_graph` sorts them."""
    both = {(int(i), int(j)) for i, j in np.concatenate((pairs, loops))}
    return np.array(sorted(both, key=lambda p: (p[1], -p[0])), np.int64).reshape(-1, 2)


def key_step(frames: int) -> int:
    """Frames between the keyframes of a shot of so many."""
    return max(KEY_STEP, -(-frames // _MOST_KEYFRAMES))


def _loops_of_shot(
    frames: FrameReader, shown: np.ndarray, reporter: Reporter
) -> list[tuple[int, int]]:
    step = key_step(len(shown))
    keys = _keyframes(frames, shown[::step], reporter)
    candidates = _candidates(keys, step)
    features = _FeatureStore(frames)
    support: list[tuple[int, int, int]] = []
    with reporter.task("loops", len(candidates)) as advance:
        for i, j in candidates:
            count = _common(features.of(int(keys.frames[i])), features.of(int(keys.frames[j])))
            if count:
                support.append((count, i, j))
            advance()
    kept: list[tuple[int, int]] = []
    for _, i, j in sorted(support, reverse=True):
        if all(max(abs(i - a), abs(j - b)) > 1 for a, b in kept):
            kept.append((i, j))
    return [(int(keys.frames[i]), int(keys.frames[j])) for i, j in kept[: most_loops(len(shown))]]


def _keyframes(frames: FrameReader, numbers: np.ndarray, reporter: Reporter) -> _Keyframes:
    """Thumbnails, each compared with all others at nine places."""
    centres, windows = [], []
    with reporter.task("keyframes", len(numbers)) as advance:
        for t in numbers:
            nine = _windows(frames.read([int(t)])[0])
            centres.append(nine[4])
            windows.append(nine)
            advance()
    centre, nine = np.stack(centres), np.stack(windows)
    alike = centre @ nine[:, 0].T
    for k in range(1, 9):
        np.maximum(alike, centre @ nine[:, k].T, out=alike)
    return _Keyframes(numbers, np.maximum(alike, alike.T))


def _windows(image: np.ndarray) -> np.ndarray:
    """Nine windows (9, P) of the thumbnail of an image (H, W, 3) uint8, each of mean 0 and length 1."""
    turned = image.shape[0] > image.shape[1]
    (height, width), (h, w) = (s[::-1] if turned else s for s in (_THUMBNAIL, _WINDOW))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    rows = [
        small[y : y + h, x : x + w].ravel()
        for y in (0, (height - h) // 2, height - h)
        for x in (0, (width - w) // 2, width - w)
    ]
    nine = np.stack(rows)
    nine -= nine.mean(1, keepdims=True)
    return nine / np.maximum(np.linalg.norm(nine, axis=1, keepdims=True), 1e-3)


def _candidates(keys: _Keyframes, step: int) -> list[tuple[int, int]]:
    """Pairs of keyframe numbers i < j that may show one place, the most alike of each j; `step` frames lie between."""
    found = []
    gap = -(-LEAST_GAP // step)
    for j in range(gap, len(keys.frames)):
        alike = keys.alike[j, : j - gap + 1].copy()
        # The least that either end is like anything between them.
        between = np.minimum.accumulate(keys.alike[j, :j][::-1])[::-1][: len(alike)]
        alike[(alike < _ALIKE) | (between > alike - _ELSEWHERE)] = 0
        for _ in range(_CANDIDATES):
            i = int(alike.argmax())
            if alike[i] <= 0:
                break
            found.append((i, j))
            alike[max(i - 2, 0) : i + 3] = 0
    return found


class _FeatureStore:
    """Features of frames at the size for matching, the last few kept."""

    def __init__(self, frames: FrameReader):
        self.frames = frames
        self._kept: OrderedDict[int, tuple[list[Features], tuple[int, int]]] = OrderedDict()

    def of(self, t: int) -> tuple[list[Features], tuple[int, int]]:
        """Features of frame `t` and the size (height, width) at which they were found."""
        if t not in self._kept:
            grey = cv2.cvtColor(self.frames.read([t])[0], cv2.COLOR_RGB2GRAY)
            scale = min(1.0, _MATCHING_PX / max(grey.shape))
            size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
            self._kept[t] = find_features(grey), grey.shape[:2]
        self._kept.move_to_end(t)
        while len(self._kept) > _PICTURES:
            self._kept.popitem(last=False)
        return self._kept[t]


def _common(
    first: tuple[list[Features], tuple[int, int]], second: tuple[list[Features], tuple[int, int]]
) -> int:
    """Matches that one camera motion explains, 0 where they are too few or in one part of a picture only."""
    matches = match_features(first[0], second[0])
    if matches is None or len(matches.source) < _LEAST_MATCHES:
        return 0
    ends = matches.source, matches.target
    cv2.setRNGSeed(0)
    _, inlier = cv2.findFundamentalMat(*ends, cv2.FM_RANSAC, 1.0, 0.99)
    if inlier is None:
        return 0
    inside = inlier.ravel().astype(bool)
    if inside.mean() < _EXPLAINED or inside.sum() < _LEAST_MATCHES:
        return 0
    spread = min(
        _cells(points[inside], size)
        for points, size in zip(ends, (first[1], second[1]), strict=True)
    )
    return int(inside.sum()) if spread >= _LEAST_CELLS else 0


def _cells(points: np.ndarray, size: tuple[int, int]) -> int:
    """Cells of the picture that hold points (N, 2)."""
    column, row = (points / (size[1], size[0]) * _CELLS).astype(int).clip(0, _CELLS - 1).T
    return len(np.unique(row * _CELLS + column))

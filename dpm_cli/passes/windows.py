"""Windows of frames become passes: a multi-view predictor sees S frames at once, the rest of dpm sees its pairs.

The pairs of a window come from one prediction, moved into the frame of each pair's first camera by the window's own
cameras, and leave a few at a time. Windows of one shot overlap; the alignment joins them like any other passes that
share frames. A window is predicted in the precision that its predictor sets; when memory ends, smaller windows of the
whole clip are the caller's business.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from dpm_cli.devices import is_out_of_memory
from dpm_cli.errors import MemoryExhaustedError, UsageError
from dpm_cli.geometry.rigid import invert, transform_map
from dpm_cli.passes.engine import Chunk, to_tensor
from dpm_cli.passes.pairs import pair_graph
from dpm_cli.predictors.protocol import Features, Predictor
from dpm_cli.structures import FrameReader, PairPrediction, WindowPrediction

MOST_FRAMES = 24
"""Of a window whose size is left to dpm: multi-view networks see so many in training, at most."""
_WINDOW = re.compile(r"window(:(?P<frames>.*))?")


@runtime_checkable
class WindowPredictor(Predictor, Protocol):
    """A predictor that can see a window at once."""

    def predict_window(self, features: Features) -> WindowPrediction:
        """Maps and cameras of a window of S frames."""
        ...


@dataclass(frozen=True)
class WindowPass:
    """A window and its rows of the pair list."""

    frames: range
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class WindowGraph:
    """Windows that cover the clip, and the pairs taken from each."""

    pairs: np.ndarray
    """(E, 2) int64, window by window."""
    windows: tuple[WindowPass, ...]
    reach: int | None = None
    """Windows close no loops: all pairs serve depth and motion."""


def window_size(graph: str) -> int | None:
    """Frames of a window, at most, if `graph` is `window` or `window:N`, else None. Raises UsageError for a wrong N."""
    if (found := _WINDOW.fullmatch(graph)) is None:
        return None
    if (text := found["frames"]) is None:
        return MOST_FRAMES
    if not text.isdigit() or int(text) < 2:
        raise UsageError(f"--pairs {graph}: give a number of frames of at least 2")
    return int(text)


def plan_windows(frames: int, size: int, overlap: int) -> list[range]:
    """Consecutive windows of `size` frames that share `overlap`; the last is moved back so that it is full."""
    if not 0 < overlap < size:
        raise UsageError(f"windows of {size} frames cannot overlap by {overlap}")
    if frames <= size:
        return [range(frames)]
    starts = [*range(0, frames - size, size - overlap), frames - size]
    return [range(start, start + size) for start in starts]


def window_graph(shot: np.ndarray, size: int) -> WindowGraph:
    """Windows of `size` frames that overlap by a quarter, inside shots; each gives the pairs of the automatic graph."""
    windows, pairs = [], []
    overlap = max(1, size // 4)
    for number in np.unique(shot):
        frames = np.flatnonzero(shot == number)
        for span in plan_windows(len(frames), size, overlap):
            inside = pair_graph(np.zeros(len(span), np.int64)) + int(frames[0]) + span.start
            start = sum(len(p) for p in pairs)
            first = int(frames[0]) + span.start
            windows.append(WindowPass(range(first, first + len(span)), start, start + len(inside)))
            pairs.append(inside)
    return WindowGraph(np.concatenate(pairs), tuple(windows))


def predict_windows(
    frames: FrameReader,
    graph: WindowGraph,
    predictor: Predictor,
    *,
    device: torch.device,
    batch_size: int,
    done: Sequence[tuple[int, int]] = (),
) -> Iterator[Chunk]:
    """Chunks of at most `batch_size` pairs of one window, in order; rows in `done` are left out.

    Raises:
        UsageError: the predictor sees pairs only.
        MemoryExhaustedError: a window does not fit.
    """
    if not isinstance(predictor, WindowPredictor):
        raise UsageError(f"--pairs window: {predictor.info.name} sees pairs only; use --model vdpm")
    finished = {row for start, stop in done for row in range(start, stop)}
    for window in graph.windows:
        starts = range(window.start, window.stop, batch_size)
        missing = [start for start in starts if start not in finished]
        if not missing:
            continue
        prediction = _predict(frames, window, predictor, device)
        for start in missing:
            stop = min(start + batch_size, window.stop)
            rows = graph.pairs[start:stop] - window.frames.start
            yield Chunk(start, stop, pairs_of_window(prediction, rows))


def _predict(
    frames: FrameReader, window: WindowPass, predictor: WindowPredictor, device: torch.device
) -> WindowPrediction:
    images = to_tensor(frames.read(list(window.frames)), device)
    try:
        return predictor.predict_window(predictor.encode(images))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Not in the handler: the error holds what has filled the memory.
    raise MemoryExhaustedError(
        f"out of memory for a window of {len(window.frames)} frames: use a smaller --size or --device cpu"
    )


def pairs_of_window(window: WindowPrediction, rows: np.ndarray) -> PairPrediction:
    """The four maps of pairs (B, 2) of frames of the window, each in its first camera's frame."""
    first, second = torch.from_numpy(rows[:, 0]), torch.from_numpy(rows[:, 1])
    view = torch.stack((first, second), 1)[:, :, None].expand(-1, 2, 2)
    time = torch.stack((first, second), 1)[:, None, :].expand(-1, 2, 2)
    cam1_from_world = invert(window.cam2world[first]).to(window.points)
    points = transform_map(cam1_from_world[:, None, None], window.points[time, view])
    return PairPrediction(points, window.confidence[time, view])

"""Where predictors get their flow from: given by the user or measured, for batches of pairs, in threads.

A clip tells which frames there are, so that a motion too large for a search can start by way of the frames between, and
flow that the user brought can be found by its name. Without a clip a pair is just two images. Once told which pairs
come, the threads measure some of them while the predictor works on what was found.
"""

import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from dpm_cli.matching.chain import compose
from dpm_cli.matching.choice import Both
from dpm_cli.matching.measure import measure_flow
from dpm_cli.matching.picture import Picture
from dpm_cli.matching.user_flow import UserFlow
from dpm_cli.structures import FrameReader

PICTURES = 24
"""Pictures kept with their features: more than the frames that one batch of pairs spans."""
FARTHEST_CHAIN = 8
"""Frames apart beyond which flow is not composed: errors add up, and what is hidden on the way is lost."""
MOST_STEPS = 64
"""Flows between neighbours that are worth keeping."""
AHEAD = 2
"""Pairs a thread measures before they are asked for, where there is room: memory for time."""


@dataclass(frozen=True)
class MatchingRoom:
    """How much a matcher does and keeps at a time: memory for time, the flow is the same."""

    threads: int
    """Pairs that are measured beside each other."""
    ahead: int
    """Pairs that are measured before they are asked for."""
    steps: int = MOST_STEPS
    """Flows between neighbours that are kept."""


class Matcher:
    """Measures flow; holds what was measured of single pictures and of neighbours."""

    def __init__(self, workers: int):
        self.room = MatchingRoom(workers, AHEAD * workers)
        self._thorough = False
        self.given: UserFlow | None = None
        self._pool = ThreadPoolExecutor(workers)
        self._frames: FrameReader | None = None
        self._planned: list[tuple[int, int]] = []
        self._started: dict[tuple[int, int], Future[Both]] = {}
        self._lock = Lock()
        self._pictures: OrderedDict[int, Picture] = OrderedDict()
        self._steps: OrderedDict[int, Both] = OrderedDict()

    @property
    def workers(self) -> int:
        """Pairs that are measured beside each other."""
        return self.room.threads

    def make_do_with(self, room: MatchingRoom) -> None:
        """Do and keep no more than `room` from now on; what was kept is forgotten."""
        self.begin(None)
        self._pool.shutdown()
        self._pool, self.room = ThreadPoolExecutor(room.threads), room

    def begin(self, frames: FrameReader | None) -> None:
        """Forget what was, and take pairs to be of this clip; None: of no clip.

        Of a clip of two frames, which is a lone pair, features are asked sooner.
        """
        self.plan([])
        self._thorough = frames is not None and len(frames) == 2
        self._frames = frames
        self._pictures.clear()
        self._steps.clear()

    def plan(self, pairs: Iterable[Sequence[int]]) -> None:
        """Pairs of frames i < j of the clip that will be asked for, in this order; earlier plans are dropped."""
        for future in self._started.values():
            future.cancel()
        self._started.clear()
        self._planned = [(int(i), int(j)) for i, j in reversed(list(pairs))]

    def flows(self, images_1: Tensor, images_2: Tensor, rows: Tensor | None = None) -> Tensor:
        """Flow (B, 2, H, W, 2) both ways in pixels, index 0 from image 1 to 2, on the images' device.

        Args:
            images_1: (B, 3, H, W) float in [0, 1].
            images_2: the other images.
            rows: (B, 2) frame numbers in the clip, where the pairs are of it.
        """
        both = torch.stack((images_1, images_2), 1).detach().clamp(0, 1)
        arrays = (both * 255).round().byte().permute(0, 1, 3, 4, 2).contiguous().cpu().numpy()
        pairs = [(self._picture(a), self._picture(b)) for a, b in arrays]
        if rows is None or self._frames is None:
            started = [self._pool.submit(measure_flow, *p, thorough=self._thorough) for p in pairs]
        else:
            asked = [(int(i), int(j)) for i, j in rows.tolist()]
            started = [
                self._started.pop(row, None) or self._pool.submit(self._flow, pair, *row)
                for row, pair in zip(asked, pairs, strict=True)
            ]
            self._go_ahead(set(asked))
        stacked = torch.from_numpy(np.stack([np.stack(s.result()) for s in started]))
        return stacked.to(images_1.device)

    def _go_ahead(self, asked: set[tuple[int, int]]) -> None:
        """Start on the next planned pairs."""
        while self._planned and len(self._started) < self.room.ahead:
            row = self._planned.pop()
            if row not in asked:
                self._started[row] = self._pool.submit(self._read_flow, *row)

    def _read_flow(self, i: int, j: int) -> Both:
        assert self._frames is not None
        first, second = (self._picture(image) for image in self._frames.read([i, j]))
        return self._flow((first, second), i, j)

    def _flow(self, pair: tuple[Picture, Picture], i: int, j: int) -> Both:
        if j - i == 1:
            return self._step(i, *pair)
        if self.given is not None and (flow := self.given.read(i, j, pair[0].size)) is not None:
            return flow
        return measure_flow(*pair, thorough=self._thorough, way_round=lambda: self._chained(i, j))

    def _chained(self, i: int, j: int) -> Both | None:
        """Flow by way of the frames between, where they are near enough."""
        if self._frames is None or not 1 < j - i <= FARTHEST_CHAIN:
            return None
        pictures = [self._picture(image) for image in self._frames.read(range(i, j + 1))]
        steps = [self._step(i + k, *pictures[k : k + 2]) for k in range(j - i)]
        return compose([s[0] for s in steps]), compose([s[1] for s in reversed(steps)])

    def _step(self, t: int, first: Picture, second: Picture) -> Both:
        """Flow between frames t and t + 1, kept; given or measured."""
        with self._lock:
            known = self._steps.get(t)
        if known is None:
            given = None if self.given is None else self.given.read(t, t + 1, first.size)
            known = given or measure_flow(first, second, thorough=self._thorough)
        with self._lock:
            self._steps[t] = known
            self._steps.move_to_end(t)
            while len(self._steps) > self.room.steps:
                self._steps.popitem(last=False)
        return known

    def _picture(self, image: np.ndarray) -> Picture:
        """The picture of an image (H, W, 3) uint8, kept by what it shows."""
        key = zlib.crc32(image.tobytes())
        with self._lock:
            picture = self._pictures.pop(key, None) or Picture(image)
            self._pictures[key] = picture
            while len(self._pictures) > PICTURES:
                self._pictures.popitem(last=False)
        return picture

"""Where predictors get their flow from: given by the user or measured, for batches of pairs, in threads.

A clip tells which frames there are, so that flow between frames far apart can also go by way of those between them,
and flow that the user brought can be found by its name. Without a clip a pair is just two images.
"""

import zlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dpm_cli.matching.chain import compose
from dpm_cli.matching.choice import Both
from dpm_cli.matching.measure import measure_flow
from dpm_cli.matching.picture import Picture
from dpm_cli.matching.user_flow import UserFlow
from dpm_cli.structures import FrameReader

_PICTURES = 24
"""Pictures kept with their features: more than the frames that one batch of pairs spans."""
_STEPS = 64
"""Flows between neighbours that are kept."""
FARTHEST_CHAIN = 8
"""Frames apart beyond which flow is not composed: errors add up, and what is hidden on the way is lost."""


class Matcher:
    """Measures flow; holds what was measured of single pictures and of neighbours."""

    def __init__(self, workers: int, *, thorough: bool = False):
        self.workers = workers
        self.thorough = thorough
        self.given: UserFlow | None = None
        self._frames: FrameReader | None = None
        self._pictures: OrderedDict[int, Picture] = OrderedDict()
        self._steps: OrderedDict[int, Both] = OrderedDict()

    def begin(self, frames: FrameReader | None) -> None:
        """Forget what was, and take pairs to be of this clip; None: of no clip."""
        self._frames = frames
        self._pictures.clear()
        self._steps.clear()

    def flows(self, images_1: Tensor, images_2: Tensor, rows: Tensor | None = None) -> Tensor:
        """Flow (B, 2, H, W, 2) both ways in pixels, index 0 from image 1 to 2, on the images' device.

        Args:
            images_1: (B, 3, H, W) float in [0, 1].
            images_2: the other images.
            rows: (B, 2) frame numbers in the clip, where the pairs are of it.
        """
        both = torch.stack((images_1, images_2), 1).detach().clamp(0, 1)
        arrays = (both * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
        pairs = [(self._picture(a), self._picture(b)) for a, b in arrays]
        numbers = [None] * len(pairs) if rows is None or self._frames is None else rows.tolist()
        with ThreadPoolExecutor(self.workers) as pool:
            self._measure_steps(numbers, pool)
            found = list(pool.map(self._flow, pairs, numbers))
        stacked = torch.from_numpy(np.stack([np.stack(f) for f in found]))
        return stacked.to(images_1.device)

    def _flow(self, pair: tuple[Picture, Picture], numbers: list[int] | None) -> Both:
        if numbers is None:
            return measure_flow(*pair, thorough=self.thorough)
        i, j = numbers
        if self.given is not None and (flow := self.given.read(i, j, pair[0].size)) is not None:
            return flow
        if j - i == 1:
            return self._steps[i]
        chained = self._chained(i, j)
        return measure_flow(
            *pair, thorough=self.thorough, starts=() if chained is None else (chained,)
        )

    def _chained(self, i: int, j: int) -> Both | None:
        """Flow by way of the frames between, where it is near enough and every step is known."""
        if not (1 < j - i <= FARTHEST_CHAIN) or any(t not in self._steps for t in range(i, j)):
            return None
        steps = [self._steps[t] for t in range(i, j)]
        return compose([s[0] for s in steps]), compose([s[1] for s in reversed(steps)])

    def _measure_steps(self, numbers: list, pool: ThreadPoolExecutor) -> None:
        """Measure the neighbours on the way of pairs (i, j) that are not known yet."""
        wanted: dict[int, None] = {}
        for pair in numbers:
            if pair is not None and 1 <= pair[1] - pair[0] <= FARTHEST_CHAIN:
                wanted.update(dict.fromkeys(range(pair[0], pair[1])))
        missing = [t for t in wanted if t not in self._steps]
        if missing:
            assert self._frames is not None
            frames = sorted({f for t in missing for f in (t, t + 1)})
            pictures = dict(zip(frames, map(self._picture, self._frames.read(frames)), strict=True))
            steps = pool.map(lambda t: self._step(t, pictures[t], pictures[t + 1]), missing)
            self._steps.update(zip(missing, steps, strict=True))
        for t in wanted:
            self._steps.move_to_end(t)
        while len(self._steps) > max(_STEPS, len(wanted)):
            self._steps.popitem(last=False)

    def _step(self, t: int, first: Picture, second: Picture) -> Both:
        if self.given is not None and (flow := self.given.read(t, t + 1, first.size)) is not None:
            return flow
        return measure_flow(first, second, thorough=self.thorough)

    def _picture(self, image: np.ndarray) -> Picture:
        """The picture of an image (H, W, 3) uint8, kept by what it shows."""
        key = zlib.crc32(image.tobytes())
        if key not in self._pictures:
            self._pictures[key] = Picture(image)
        self._pictures.move_to_end(key)
        while len(self._pictures) > _PICTURES:
            self._pictures.popitem(last=False)
        return self._pictures[key]

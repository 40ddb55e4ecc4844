"""A stream of pairs becomes a stream of predictions: each frame is encoded once, pairs are predicted in batches.

Frames come from a `FrameReader`, predictions leave as `PairPrediction`. The engine knows no model by name; it opens an
autocast region of the asked dtype, inside which a predictor may set its own precision. Features live in a
least-recently-used cache, so memory does not grow with the clip. When memory ends the batch is halved for good, and
that is said once.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dpm_cli.devices import is_out_of_memory
from dpm_cli.errors import MemoryExhaustedError
from dpm_cli.predictors.protocol import FRAME, Features, MeasuresFlow, Predictor
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.structures import FrameReader, PairPrediction


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows of the pair list and what the predictor says of them."""

    start: int
    stop: int
    prediction: PairPrediction


def to_tensor(images: np.ndarray, device: torch.device) -> Tensor:
    """Images (N, H, W, 3) uint8 to (N, 3, H, W) float32 in [0, 1] on `device`."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255


class FeatureCache:
    """Features of single frames, encoded in batches when first wanted, the least recently used dropped first.

    At most `capacity` frames and `most_bytes` are kept beyond those that are wanted.
    """

    def __init__(
        self,
        predictor: Predictor,
        frames: FrameReader,
        device: torch.device,
        capacity: int,
        most_bytes: int,
    ):
        self.predictor, self.frames, self.device = predictor, frames, device
        self.capacity, self.most_bytes = capacity, most_bytes
        self._kept: OrderedDict[int, Features] = OrderedDict()

    def gather(self, indices: Sequence[int], batch_size: int) -> Features:
        """Features of frames `indices`, joined along the batch axis; missing ones are encoded."""
        wanted = list(dict.fromkeys(int(i) for i in indices))
        missing = [i for i in wanted if i not in self._kept]
        for start in range(0, len(missing), batch_size):
            part = missing[start : start + batch_size]
            encoded = self.predictor.encode(to_tensor(self.frames.read(part), self.device))
            for row, index in enumerate(part):
                self._kept[index] = {k: v[row : row + 1].clone() for k, v in encoded.items()}
        for index in wanted:
            self._kept.move_to_end(index)
        singles = [self._kept[int(i)] for i in indices]
        joined = {k: torch.cat([f[k] for f in singles]) for k in singles[0]}
        joined[FRAME] = torch.tensor([int(i) for i in indices])
        one = sum(v.nbytes for v in singles[0].values())
        most = min(self.capacity, self.most_bytes // max(one, 1))
        while len(self._kept) > max(most, len(wanted)):
            self._kept.popitem(last=False)
        return joined

    def clear(self) -> None:
        """Forget all features."""
        self._kept.clear()


def predict_pairs(
    frames: FrameReader,
    pairs: np.ndarray,
    predictor: Predictor,
    *,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int,
    features_bytes: int = 2**30,
    reach: int | None = None,
    done: Sequence[tuple[int, int]] = (),
    reporter: Reporter | None = None,
) -> Iterator[Chunk]:
    """Predict the directed pairs (E, 2) in order, `batch_size` at a time.

    Args:
        frames: working images.
        pairs: (E, 2) frame numbers.
        predictor: any predictor, already on `device`.
        device: where images go.
        dtype: autocast dtype; float32 switches autocast off.
        batch_size: pairs at a time; the borders are multiples of it, so that resuming repeats the same batches.
        features_bytes: of encoded frames that are kept.
        reach: frames between those of a pair, but for a few pairs of far frames; None = the most of all pairs.
        done: [start, stop) rows that a previous run has stored; they are skipped.
        reporter: told of a halved batch.

    Yields:
        Chunks in order, those in `done` left out.

    Raises:
        MemoryExhaustedError: a single pair does not fit.
    """
    reporter = reporter or SilentReporter()
    if reach is None:
        reach = int((pairs[:, 1] - pairs[:, 0]).max()) if len(pairs) else 0
    capacity = reach + 2 * batch_size + 1
    cache = FeatureCache(predictor, frames, device, capacity, features_bytes)
    finished = np.zeros(len(pairs), bool)
    for start, stop in done:
        finished[start:stop] = True
    if isinstance(predictor, MeasuresFlow):
        predictor.matcher.plan(pairs[~finished])
    size = batch_size
    for border in range(0, len(pairs), batch_size):
        start, end = border, min(border + batch_size, len(pairs))
        while start < end:
            stop = min(start + size, end)
            if finished[start:stop].all():
                start = stop
                continue
            try:
                prediction = _predict(cache, pairs[start:stop], predictor, device, dtype)
            except (RuntimeError, MemoryError) as error:
                size = _smaller_batch(error, stop - start, device)
                cache.clear()
                reporter.note(f"out of memory: going on with {size} pairs at a time")
                continue
            yield Chunk(start, stop, prediction)
            start = stop


def _smaller_batch(error: Exception, pairs: int, device: torch.device) -> int:
    """Half of the pairs that did not fit; raises what is no lack of memory, and where one pair does not fit."""
    if not is_out_of_memory(error):
        raise error
    if pairs == 1:
        raise MemoryExhaustedError(
            "out of memory for a single pair: use a smaller --size or --device cpu"
        ) from None
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return pairs // 2


def _predict(
    cache: FeatureCache,
    pairs: np.ndarray,
    predictor: Predictor,
    device: torch.device,
    dtype: torch.dtype,
) -> PairPrediction:
    enabled = dtype != torch.float32
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=enabled):
        both = cache.gather([*pairs[:, 0], *pairs[:, 1]], batch_size=max(1, len(pairs)))
        first = {k: v[: len(pairs)] for k, v in both.items()}
        second = {k: v[len(pairs) :] for k, v in both.items()}
        return predictor.predict(first, second)

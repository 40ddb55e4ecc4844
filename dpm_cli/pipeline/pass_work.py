"""The passes of one clip as work of which another process, on another machine, can do a part.

A piece is a range of rows of the pair list that begins and ends at the border of a batch, so that whoever makes it
writes the same files. All meet in the folder of passes: what is there is not made again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from dpm_cli.config import ReconstructSettings
from dpm_cli.passes.run import PairGraph, PassGraph, run_passes
from dpm_cli.passes.store import PassStore
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.pipeline.brought import user_flow
from dpm_cli.pipeline.machine import Machine
from dpm_cli.predictors.protocol import FrameDepth, HearsPrior, MeasuresFlow, Predictor
from dpm_cli.prior.store import PriorStore
from dpm_cli.progress import Reporter
from dpm_cli.structures import Clip


@dataclass(frozen=True, eq=False)
class PassWork:
    """Everything that the passes depend on but the predictor; it can be sent to other processes."""

    clip: Clip
    graph: PassGraph
    intrinsics: np.ndarray | None
    """(3, 3) or (T, 3, 3) at the working size where the user gave them."""
    told: np.ndarray | None
    """The same, or (3, 3) as the predictor has found them for the clip."""
    prior: PriorStore | None
    """What the predictor is told of depth."""
    masks: UserMasks | None
    folder: Path
    """Of the passes."""
    batch_size: int
    features_bytes: int
    settings: ReconstructSettings

    def pieces(self, count: int) -> list[range]:
        """All rows in about `count` pieces."""
        rows, graph = len(self.graph.pairs), self.graph
        if isinstance(graph, PairGraph):
            ends = [*range(self.batch_size, rows, self.batch_size), rows]
        else:
            ends = [window.stop for window in graph.windows]
        each = -(-len(ends) // count)
        borders = [0, *ends[each - 1 : -1 : each], rows]
        return [range(a, b) for a, b in pairwise(borders)]

    def prepare(self, machine: Machine) -> None:
        """Bring a predictor that has not seen the clip to where the one is that has found `told`."""
        predictor = machine.predictor
        if isinstance(predictor, MeasuresFlow):
            predictor.matcher.given = user_flow(self.clip, self.settings)
        predictor.prepare(self.clip, self.told)
        tell_prior(predictor, self.prior)

    def run(self, machine: Machine, reporter: Reporter, piece: range | None = None) -> PassStore:
        """Make what is not there yet, of a piece or of all, with a predictor that is prepared."""
        return run_passes(
            self.clip,
            self.graph,
            machine.predictor,
            self.folder,
            intrinsics=self.intrinsics,
            masks=self.masks,
            device=machine.device,
            dtype=machine.dtype,
            batch_size=self.batch_size,
            features_bytes=self.features_bytes,
            piece=piece,
            reporter=reporter,
        )


Spread = Callable[[PassWork, Machine], int]
"""Has pieces made, by other processes and in this one, and says how many the others have made; it may leave some."""


def listener(predictor: Predictor) -> HearsPrior | None:
    """The predictor, if it can be told a prior."""
    return predictor if isinstance(predictor, HearsPrior) and predictor.hears_prior else None


def tell_prior(predictor: Predictor, store: PriorStore | None) -> None:
    """Tell the predictor the prior if it can hear one; None = that there is none."""
    if (hearing := listener(predictor)) is not None:
        hearing.tell(None if store is None else _frame_depth(store))


def _frame_depth(store: PriorStore) -> FrameDepth:
    """What a predictor is told of the frames of a store."""

    def of_frame(t: int) -> np.ndarray:
        estimate = store.read(t)
        return np.where(estimate.valid, estimate.inverse_depth, 0).astype(np.float32)

    return of_frame

"""All passes of a clip: predict every pair, reduce it and put what later stages need on disk."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dpm_cli.ahead import in_order
from dpm_cli.geometry.reduce import PairReduction, reduce_pair
from dpm_cli.passes.engine import Chunk, predict_pairs
from dpm_cli.passes.finite import finite_prediction
from dpm_cli.passes.pairs import pair_graph
from dpm_cli.passes.store import DensePass, PassStore
from dpm_cli.passes.unmatched import without_unmatched
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.passes.windows import WindowGraph, predict_windows, window_graph, window_size
from dpm_cli.predictors.protocol import MeasuresFlow, Predictor
from dpm_cli.progress import Reporter
from dpm_cli.ram import give_back_ram
from dpm_cli.structures import Clip


@dataclass(frozen=True, eq=False)
class PairGraph:
    """Pairs that are predicted one by one."""

    pairs: np.ndarray
    """(E, 2) int64."""
    reach: int | None = None
    """Frames between those of a pair, at most, where pairs of farther frames only close loops; None = they do not."""


PassGraph = PairGraph | WindowGraph


def pass_graph(shot: np.ndarray, graph: str, window: int | None = None) -> PassGraph:
    """The passes of a clip with shots (T,) for the value of `--pairs`, or of windows of `window` frames."""
    size = window or window_size(graph)
    return PairGraph(pair_graph(shot, graph)) if size is None else window_graph(shot, size)


GRID_PX = 8
"""Pixels between the grid points that the alignment sees, at least."""
GRID_POINTS = 3_000_000
"""Grid points of all passes together, at most: the alignment holds them all, so long clips get a coarser grid."""
_TIDIED = 50
"""Chunks after which memory that was freed goes back to the system, of which an allocator keeps more and more."""
_SMALL = (
    "cam2_from_cam1",
    "pose_covariance",
    "pose_inliers",
    "twist_per_log_focal",
    "focal_px",
    "focal_sigma_log",
)


def run_passes(
    clip: Clip,
    graph: PassGraph,
    predictor: Predictor,
    folder: Path,
    *,
    intrinsics: np.ndarray | None,
    masks: UserMasks | None,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int,
    features_bytes: int,
    piece: range | None = None,
    reporter: Reporter,
) -> PassStore:
    """Fill the store in `folder` with every pass that is not there yet.

    Args:
        clip: the decoded clip.
        graph: the directed pairs, and the windows they come from, if any.
        predictor: prepared for the clip.
        folder: of the store.
        intrinsics: (3, 3) or (T, 3, 3) at the working size where known.
        masks: the user's masks of moving things.
        device: of the predictor.
        dtype: autocast dtype.
        batch_size: pairs at a time, frozen in the manifest.
        features_bytes: of encoded frames that are kept.
        piece: rows of the pair list, from the border of a batch or window to another; None = all.
        reporter: progress.
    """
    store = PassStore(folder)
    done, rows = store.done(), range(len(graph.pairs)) if piece is None else piece
    there = sum(len(range(max(a, rows.start), min(b, rows.stop))) for a, b in done)
    done = [(0, rows.start), *done, (rows.stop, len(graph.pairs))]
    spacing = grid_spacing(clip.size, len(graph.pairs))
    with reporter.task("pairs", len(rows)) as advance:
        advance(there)
        if isinstance(graph, WindowGraph):
            chunks = predict_windows(
                clip.frames, graph, predictor, device=device, batch_size=batch_size, done=done
            )
        else:
            chunks = predict_pairs(
                clip.frames,
                graph.pairs,
                predictor,
                device=device,
                dtype=dtype,
                batch_size=batch_size,
                features_bytes=features_bytes,
                reach=graph.reach,
                done=done,
                reporter=reporter,
            )

        def keep(chunk: Chunk) -> int:
            rows = graph.pairs[chunk.start : chunk.stop]
            prediction, not_finite = finite_prediction(chunk.prediction)
            prediction = masks.apply(prediction, rows) if masks else prediction
            K = None if intrinsics is None else _per_view(intrinsics, rows).to(device)
            reduction = reduce_pair(
                prediction, None if K is None else K[:, 0], None if K is None else K[:, 1]
            )
            if prediction.flow is not None:
                reduction = without_unmatched(reduction, clip.frames, rows)
            _store(store, chunk.start, rows, reduction, not_finite, spacing)
            return len(rows)

        with _one_thread_each(predictor, device):
            # One pass is kept while the next is predicted.
            for number, count in enumerate(in_order(keep, chunks, workers=1)):
                advance(count)
                if number % _TIDIED == 0:
                    give_back_ram()
    return store


@contextmanager
def _one_thread_each(predictor: Predictor, device: torch.device) -> Iterator[None]:
    """Torch on one thread where matching keeps the other cores busy: it would wait for its others by spinning."""
    threads = torch.get_num_threads()
    if device.type == "cpu" and isinstance(predictor, MeasuresFlow):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _per_view(intrinsics: np.ndarray, rows: np.ndarray) -> torch.Tensor:
    """(B, 2, 3, 3) float64 of pairs (B, 2)."""
    every = (
        intrinsics[rows]
        if intrinsics.ndim == 3
        else np.broadcast_to(intrinsics, (*rows.shape, 3, 3))
    )
    return torch.from_numpy(np.ascontiguousarray(every))


def grid_points(size: tuple[int, int], passes: int) -> int:
    """Grid points of both views of so many passes."""
    spacing = grid_spacing(size, passes)
    return 2 * passes * (-(-size[0] // spacing)) * (-(-size[1] // spacing))


def grid_spacing(size: tuple[int, int], passes: int) -> int:
    """Pixels between grid points, so that neither `GRID_PX` nor `GRID_POINTS` is passed."""
    return max(GRID_PX, math.ceil(math.sqrt(2 * size[0] * size[1] * passes / GRID_POINTS)))


def _store(
    store: PassStore,
    start: int,
    rows: np.ndarray,
    r: PairReduction,
    not_finite: np.ndarray,
    spacing: int,
) -> None:
    log_depth = r.depth.clamp_min(1e-8).log().float().cpu().numpy()
    confidence, motion = (x.float().cpu().numpy() for x in (r.confidence, r.motion))
    valid = r.valid.cpu().numpy()
    scene_flow, flow = (x.float().cpu().numpy() for x in (r.scene_flow, r.flow))
    visible = r.flow_visible.cpu().numpy()
    for b, (i, j) in enumerate(rows):
        neighbours = j - i == 1
        store.write_dense(
            start + b,
            DensePass(
                log_depth=log_depth[b],
                confidence=confidence[b],
                valid=valid[b],
                motion=motion[b],
                flow=flow[b],
                flow_visible=visible[b],
                scene_flow=scene_flow[b] if neighbours else None,
            ),
        )
    half = spacing // 2
    grid = (slice(None), slice(None), slice(half, None, spacing), slice(half, None, spacing))
    store.write_chunk(
        start,
        start + len(rows),
        {
            "pairs": rows,
            "log_depth": log_depth[grid],
            "confidence": np.where(valid, confidence, 0)[grid],
            "flow": flow[grid],
            "flow_weight": (visible * (1 - motion) ** 2)[grid].astype(np.float32),
            "status": np.array(r.status, dtype="U12"),
            "not_finite": not_finite,
            **{name: getattr(r, name).double().cpu().numpy() for name in _SMALL},
        },
    )

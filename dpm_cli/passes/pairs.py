"""Which frames are matched with which, and why.

The graph of a shot holds its neighbours and longer strides, so every frame has short baselines for flow and long
ones for depth; strides beyond `DENSE_STRIDE` start only at every half stride, which closes drift at little cost.
It is connected by construction: stride 1 is always there. Frames of different shots are never paired.
"""

import numpy as np

from dpm_cli.errors import UsageError

DENSE_STRIDE = 8
AUTO_STRIDES = (1, 2, 4, 8)


def parse_strides(graph: str) -> tuple[int, ...] | None:
    """Strides of a `--pairs` value; None means every pair. Raises UsageError on anything else."""
    if graph == "auto":
        return AUTO_STRIDES
    if graph == "complete":
        return None
    try:
        strides = tuple(sorted({int(s) for s in graph.split(",")} | {1}))
    except ValueError:
        strides = ()
    if not strides or strides[0] < 1:
        raise UsageError(
            f"--pairs {graph}: give auto, complete, strides such as 1,2,4,8, or window:N"
        )
    return strides


def pair_graph(shot: np.ndarray, graph: str = "auto") -> np.ndarray:
    """Unordered pairs (E, 2) int64 with i < j, sorted by the later frame so that a stream can serve them.

    Args:
        shot: (T,) number of the shot of each frame, non-decreasing.
        graph: see `parse_strides`.

    Returns:
        The pairs; a shot of one frame gives the pair (t, t), from which a predictor still knows its depth.
    """
    strides = parse_strides(graph)
    pairs: list[tuple[int, int]] = []
    for number in np.unique(shot):
        frames = np.flatnonzero(shot == number)
        first, count = int(frames[0]), len(frames)
        if count == 1:
            pairs.append((first, first))
        for stride in range(1, count) if strides is None else strides:
            step = 1 if strides is None or stride <= DENSE_STRIDE else stride // 2
            pairs += [(first + i, first + i + stride) for i in range(0, count - stride, step)]
    return np.array(sorted(pairs, key=lambda p: (p[1], -p[0])), dtype=np.int64).reshape(-1, 2)

"""Scores of single cases, and the table {model: {dataset: {metric: value}}} that they make."""

from dataclasses import dataclass, field

import numpy as np

Table = dict[str, dict[str, dict[str, float]]]

MORE_IS_BETTER = frozenset(
    (
        *("delta_1_25", "delta_1_25_shift", "depth_cover", "flow_1px", "motion_iou", "motion_f"),
        *(
            "match_1px",
            "match_3px",
            "match_5px",
            "match_count",
            "scene_flow_acc_5cm",
            "scene_flow_acc_10cm",
        ),
        *("apd", "apd_dynamic", "apd_camera", "registered"),
        *("object_found", "object_one_id"),
    )
)
"""Shares of what is right; all other metrics are errors."""
_PRIMARY = ("epe", "flow_epe", "absrel", "ate", "motion_iou", "track_epe")
_WEIGHTED = ("absrel", "absrel_shift", "absrel_median", "delta_1_25", "delta_1_25_shift")


@dataclass(frozen=True, eq=False)
class Score:
    """What one model gets for one case."""

    model: str
    dataset: str
    sequence: str
    """Sequence, or pair of frames."""
    values: dict[str, float]
    seconds: float
    """Time that the model took for it, without reading and judging."""
    weight: float = 1.0
    """Number of pixels behind the depth metrics, which are averaged by it as the video depth protocol does."""
    picture: np.ndarray | None = field(default=None, repr=False)
    """(H, W, 3) uint8: image, truth, prediction, error."""


def primary(values: dict[str, float]) -> str | None:
    """The metric that ranks the cases of a data set: the first of those that decide which is known."""
    return next((name for name in _PRIMARY if name in values), None)


def table(scores: list[Score]) -> Table:
    """Means over the cases of each data set; a metric is averaged over the cases that have it."""
    out: Table = {}
    for model, dataset in dict.fromkeys((s.model, s.dataset) for s in scores):
        rows = [s for s in scores if (s.model, s.dataset) == (model, dataset)]
        names = dict.fromkeys(name for s in rows for name in s.values)
        means = {name: _mean(name, [s for s in rows if name in s.values]) for name in names}
        means["cases"] = float(len(rows))
        means["seconds"] = float(np.mean([s.seconds for s in rows]))
        out.setdefault(model, {})[dataset] = means
    return out


def _mean(name: str, rows: list[Score]) -> float:
    weights = [s.weight if name in _WEIGHTED else 1.0 for s in rows]
    return float(np.average([s.values[name] for s in rows], weights=weights))


def worst(scores: list[Score], count: int = 2) -> list[Score]:
    """The `count` worst cases of each model and data set, by its primary metric, worst first."""
    found = []
    for model, dataset in dict.fromkeys((s.model, s.dataset) for s in scores):
        rows = [s for s in scores if (s.model, s.dataset) == (model, dataset)]
        metric = next((m for m in (primary(s.values) for s in rows) if m), None)
        if metric is None:
            continue
        ranked = sorted(
            (s for s in rows if metric in s.values),
            key=lambda s: s.values[str(metric)],
            reverse=metric not in MORE_IS_BETTER,
        )
        found += ranked[:count]
    return found

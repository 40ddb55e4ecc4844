"""The picture of a case: image and truth above, prediction and error below, for depth, flow and motion."""

import cv2
import numpy as np

from dpm_cli.export.pictures import depth_picture, flow_picture, mask_picture
from dpm_cli.geometry.reduce import PairReduction
from dpm_cli.workshop.evaluate.cases import PairCase
from dpm_cli.workshop.metrics.depth import median_scale

TILE_WIDTH = 320


def pair_picture(reduction: PairReduction, case: PairCase) -> np.ndarray:
    """Columns: the two images; depth, flow and mask of image 1, truth above prediction, as far as there is truth."""
    columns = [list(case.images)]
    if case.maps is not None:
        known = case.maps.valid[0, 0, 0].numpy()
        columns.append(
            depth_column(
                reduction.depth[0, 0].cpu().numpy(),
                case.maps.points[0, 0, 0, ..., 2].numpy(),
                known,
            )
        )
    if case.flow is not None:
        columns.append(
            flow_column(reduction.flow[0, 0].cpu().numpy(), case.flow.flow, case.flow.valid)
        )
    if case.moving is not None:
        found = (reduction.motion[0, 0] > 0.5).cpu().numpy()
        columns.append([mask_picture(case.images[0], m) for m in (case.moving == 1, found)])
    return grid(columns)


def depth_column(depth: np.ndarray, truth: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """True and predicted depth (H, W) in the same colours, the prediction scaled by the median."""
    if not known.any():
        known = np.ones_like(known)
        truth = depth
    near, far = np.percentile(truth[known], (2, 98))
    ends = (float(max(near, 1e-6)), float(max(far, near * 1.01, 2e-6)))
    aligned = median_scale(depth, truth, known).apply(depth)
    everywhere = np.ones_like(known)
    return [depth_picture(truth, known, ends), depth_picture(aligned, everywhere, ends)]


def flow_column(flow: np.ndarray, truth: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """True and predicted flow (H, W, 2) in the same colours."""
    longest = (
        float(np.percentile(np.linalg.norm(truth[known], axis=-1), 95)) if known.any() else 1.0
    )
    everywhere = np.ones_like(known)
    return [flow_picture(f, k, max(longest, 1.0)) for f, k in ((truth, known), (flow, everywhere))]


def grid(columns: list[list[np.ndarray]]) -> np.ndarray:
    """Columns of equally many pictures as one picture (H, W, 3); all are brought to one width."""
    return np.hstack([np.vstack([_tile(p) for p in column]) for column in columns])


def _tile(picture: np.ndarray) -> np.ndarray:
    height = round(picture.shape[0] * TILE_WIDTH / picture.shape[1])
    return cv2.resize(picture, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA)

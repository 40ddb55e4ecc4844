"""From matches that can be trusted to flow everywhere: along the image's edges, then refined on both images.

Interpolation: locally affine, between matches that are near along the image (edge-aware interpolation as in EpicFlow,
Revaud et al., CVPR 2015), by OpenCV contrib. Refinement: the variational method of Brox et al., ECCV 2004.
"""

import cv2
import numpy as np

from dpm_cli.matching.consistency import comes_back, length
from dpm_cli.matching.features import SparseMatches
from dpm_cli.matching.picture import Picture

NEIGHBOURS = 32
"""Matches that one affine motion is fitted to; twice as many cost twice the time and gain 1 %."""
_STEP_PX = 7
_MOST = 30_000
"""The interpolator numbers its matches by 15 bits."""
_FEWEST = 48
"""Matches below which nothing can be interpolated."""
COMES_BACK_PX, COMES_BACK_SHARE = 0.5, 0.02
"""Forward-backward error that a trusted match may have: so many pixels, plus this share of its length."""
FORGOTTEN_PX, FORGOTTEN_SHARE = 1.5, 0.05
"""Trusted flow that the interpolation misses by more, so many pixels plus this share of its length, stays."""


def spread(matches: SparseMatches, picture_1: Picture, picture_2: Picture) -> np.ndarray | None:
    """Flow (H, W, 2) float32 from image 1 to 2 through the matches; None if they are too few or it fails."""
    if len(matches.source) < _FEWEST:
        return None
    interpolator = cv2.ximgproc.createEdgeAwareInterpolator()
    interpolator.setK(NEIGHBOURS)
    interpolator.setSigma(0.05)
    interpolator.setLambda(999.0)
    interpolator.setUsePostProcessing(True)
    interpolator.setFGSLambda(500.0)
    interpolator.setFGSSigma(1.5)
    # Where matches have little weight the interpolator leans to no motion at all: let that be the typical motion.
    typical = np.median(matches.target - matches.source, axis=0)
    flow = interpolator.interpolate(
        picture_1.rgb, matches.source, picture_2.rgb, matches.target - typical
    )
    flow += typical
    return flow if np.isfinite(flow).all() else None


def trusted(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Whether flow (H, W, 2) lands inside the other image and comes back, (H, W) bool."""
    error, inside = comes_back(flow, back)
    return inside & (error < COMES_BACK_PX + COMES_BACK_SHARE * length(flow))


def clean(flow: np.ndarray, back: np.ndarray, picture_1: Picture, picture_2: Picture) -> np.ndarray:
    """Flow (H, W, 2) with what does not come back replaced from its surroundings, and refined."""
    height, width = flow.shape[:2]
    step = max(_STEP_PX, int(np.ceil(np.sqrt(height * width / _MOST))))
    y, x = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    known = trusted(flow, back)
    kept = known[y, x]
    source = np.stack((x[kept], y[kept]), -1).astype(np.float32)
    dense = spread(SparseMatches(source, source + flow[y[kept], x[kept]]), picture_1, picture_2)
    if dense is None:
        return flow
    off = length(cv2.subtract(dense, flow))
    forgotten = known & (off > FORGOTTEN_PX + FORGOTTEN_SHARE * length(flow))
    cv2.copyTo(flow, forgotten.view(np.uint8), dense)
    refinement = cv2.VariationalRefinement.create()
    refinement.setAlpha(20.0)
    refinement.setDelta(5.0)
    refinement.setGamma(10.0)
    refinement.setFixedPointIterations(5)
    refinement.setSorIterations(5)
    refined = refinement.calc(picture_1.grey, picture_2.grey, dense.copy())
    return refined if np.isfinite(refined).all() else dense

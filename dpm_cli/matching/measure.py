"""Flow of one pair, both ways: dense search, further starts where it was lost, the best of each, cleaned.

    search both ways, sharp and smooth -> share that comes back
        little: again without the common motion, again from feature matches, by way of the frames between
    best candidate per pixel -> trusted pixels -> along the image's edges -> refined on the images

Knows images only, neither cameras nor points.
"""

from collections.abc import Callable

import numpy as np

from dpm_cli.matching.choice import Both, best_of
from dpm_cli.matching.common_motion import without_common_motion
from dpm_cli.matching.dis import dis_flow
from dpm_cli.matching.features import SparseMatches, match_features
from dpm_cli.matching.interpolate import clean, spread, trusted
from dpm_cli.matching.picture import Picture

LOST_SHARE = 0.65
"""Share of pixels that come back below which the motion is taken to be too large for the search somewhere, so that the
common motion and features are asked. A rigid scene seen with two thirds of overlap has more."""
EASY_SHARE = 0.9
"""The same for a lone pair, where time matters less."""


def measure_flow(
    first: Picture,
    second: Picture,
    *,
    thorough: bool = False,
    way_round: Callable[[], Both | None] | None = None,
) -> Both:
    """Flow (H, W, 2) float32 in pixels from image 1 to 2 and from 2 to 1.

    Args:
        first: image 1.
        second: image 2, of the same size.
        thorough: ask the features wherever one search is not enough; for a lone pair, where time matters less.
        way_round: flow found by way of the frames between, asked where the motion is too large: a start, for composed
            flow itself is less exact than direct flow wherever both exist.
    """
    grey = first.grey, second.grey
    plain = _search(grey)
    good = trusted(*plain)
    share = float(good.mean())
    candidates: list[Both | None] = [plain]
    if share < (EASY_SHARE if thorough else LOST_SHARE):
        candidates.append(without_common_motion(*grey, plain[0], good))
        candidates.append(_from_features(first, second))
    if share < LOST_SHARE and way_round is not None and (start := way_round()) is not None:
        candidates.append(_search(grey, start))
    found = [c for c in candidates if c is not None]
    smooth = dis_flow(*grey), dis_flow(grey[1], grey[0])
    forward, back = best_of(found, *grey, smooth=smooth)
    return clean(forward, back, first, second), clean(back, forward, second, first)


def _search(
    grey: tuple[np.ndarray, np.ndarray],
    starts: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> Both:
    """Sharp search both ways."""
    return (
        dis_flow(grey[0], grey[1], "sharp", starts[0]),
        dis_flow(grey[1], grey[0], "sharp", starts[1]),
    )


def _from_features(first: Picture, second: Picture) -> Both | None:
    """Dense search both ways from feature matches; None where there are too few."""
    matches = match_features(first.features, second.features)
    if matches is None:
        return None
    back = SparseMatches(matches.target, matches.source)
    starts = spread(matches, first, second), spread(back, second, first)
    if starts[0] is None or starts[1] is None:
        return None
    return _search((first.grey, second.grey), (starts[0], starts[1]))

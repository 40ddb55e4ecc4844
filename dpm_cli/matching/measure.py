"""Flow of one pair, both ways: dense search, further starts where it was lost, the best of each, cleaned.

    search both ways -> share that comes back
        little: again without the common motion, again from feature matches, from given starts
    best candidate per pixel -> trusted pixels -> along the image's edges -> refined on the images

Knows images only, neither cameras nor points.
"""

from dpm_cli.matching.choice import Both, best_of
from dpm_cli.matching.common_motion import without_common_motion
from dpm_cli.matching.dis import dis_flow
from dpm_cli.matching.features import SparseMatches, match_features
from dpm_cli.matching.interpolate import clean, spread, trusted
from dpm_cli.matching.picture import Picture

EASY_SHARE = 0.9
"""Share of pixels that come back above which one search is enough."""
LOST_SHARE = 0.65
"""Share below which the motion is taken to be too large for the search somewhere, so that features are asked. A rigid
scene seen with two thirds of overlap has more."""


def measure_flow(
    first: Picture, second: Picture, *, thorough: bool = False, starts: tuple[Both, ...] = ()
) -> Both:
    """Flow (H, W, 2) float32 in pixels from image 1 to 2 and from 2 to 1.

    Args:
        first: image 1.
        second: image 2, of the same size.
        thorough: ask the features wherever one search is not enough; for a lone pair, where time matters less.
        starts: flows found by other ways, such as by way of the frames between; they compete as they are.
    """
    grey = first.grey, second.grey
    plain = dis_flow(*grey, "sharp"), dis_flow(grey[1], grey[0], "sharp")
    good = trusted(*plain)
    share = float(good.mean())
    candidates = [plain, *starts]
    if share < EASY_SHARE:
        again = without_common_motion(*grey, plain[0], good)
        candidates += [again] if again is not None else []
    if share < (EASY_SHARE if thorough else LOST_SHARE):
        seeded = _from_features(first, second)
        candidates += [seeded] if seeded is not None else []
    forward, back = best_of(candidates, *grey)
    return clean(forward, back, first, second), clean(back, forward, second, first)


def _from_features(first: Picture, second: Picture) -> Both | None:
    """Dense search both ways from feature matches; None where there are too few."""
    matches = match_features(first.features, second.features)
    if matches is None:
        return None
    back = SparseMatches(matches.target, matches.source)
    starts = spread(matches, first, second), spread(back, second, first)
    if starts[0] is None or starts[1] is None:
        return None
    return (
        dis_flow(first.grey, second.grey, "sharp", starts[0]),
        dis_flow(second.grey, first.grey, "sharp", starts[1]),
    )

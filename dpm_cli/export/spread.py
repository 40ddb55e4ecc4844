"""Which frames stand for a clip where not all can be shown."""

import numpy as np


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` frame numbers, evenly spread, first and last among them."""
    return sorted({int(t) for t in np.linspace(0, count - 1, min(count, most)).round()})

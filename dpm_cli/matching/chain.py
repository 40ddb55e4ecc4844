"""Flow between frames far apart, by way of the frames between them."""

import numpy as np

from dpm_cli.matching.consistency import follow


def compose(steps: list[np.ndarray]) -> np.ndarray:
    """Flow (H, W, 2) over steps (H, W, 2) that follow each other; where one leaves the picture, the edge's is taken."""
    total = steps[0]
    for step in steps[1:]:
        total = total + follow(step, total)
    return total

"""Flow between frames far apart, by way of the frames between them."""

import cv2
import numpy as np

from dpm_cli.matching.consistency import targets


def compose(steps: list[np.ndarray]) -> np.ndarray:
    """Flow (H, W, 2) over steps (H, W, 2) that follow each other; where one leaves the picture, the edge's is taken."""
    total = steps[0]
    for step in steps[1:]:
        there = targets(total)
        total = total + cv2.remap(
            step,
            there,
            None,  # pyright: ignore
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return total

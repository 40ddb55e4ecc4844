"""Flow of a lone pair at the size of its source, where the working size has lost what is small and fast."""

import cv2
import numpy as np

from dpm_cli.matching.choice import Both
from dpm_cli.matching.measure import measure_flow
from dpm_cli.matching.picture import Picture

LONGEST_PX = 1280
"""Long side at which flow is measured at most; it is resized from there, for time grows with the pixels."""


def flow_at_source(image_1: np.ndarray, image_2: np.ndarray) -> Both:
    """Flow (H, W, 2) float32 both ways, in pixels of the images (H, W, 3) uint8."""
    height, width = image_1.shape[:2]
    share = min(1.0, LONGEST_PX / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (image_1, image_2)]
    found = measure_flow(Picture(small[0]), Picture(small[1]), thorough=True)
    if share == 1.0:
        return found
    scale = np.array((width / size[0], height / size[1]), np.float32)
    first, second = (cv2.resize(flow, (width, height)) * scale for flow in found)
    return first, second

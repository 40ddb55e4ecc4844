"""One image as the matcher sees it: what it needs of a single image is computed once, however many pairs it is in."""

from functools import cached_property

import cv2
import numpy as np

from dpm_cli.matching.features import Features, find_features


class Picture:
    """An image with its grey version and its features."""

    def __init__(self, rgb: np.ndarray):
        self.rgb = np.ascontiguousarray(rgb)
        """(H, W, 3) uint8."""
        self.grey: np.ndarray = cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)
        """(H, W) uint8."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.grey.shape[0], self.grey.shape[1]

    @cached_property
    def features(self) -> list[Features]:
        """Feature points at full and half size; see `find_features`."""
        return find_features(self.grey)

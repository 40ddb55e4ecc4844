"""Where a clip is cut: neighbouring frames that share neither their picture nor their colours.

Two signs must agree, because either alone is fooled: fast motion breaks flow but keeps the colours; a flash or a
change of exposure changes the colours but keeps the flow.
"""

import cv2
import numpy as np
import torch

from dpm_cli.matching.consistency import consistency_error
from dpm_cli.matching.dis import pair_flows
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.structures import FrameReader

THUMBNAIL_PX = 160
MIN_CONSISTENT = 0.45
"""Share of thumbnail pixels whose flow there and back agrees within 1.5 px; below it the picture is another."""
MIN_COMMON_COLOURS = 0.8
"""Intersection of the two colour histograms; below it the colours are others."""


def detect_shots(frames: FrameReader, reporter: Reporter | None = None) -> np.ndarray:
    """Number of the shot of each frame, (T,) int64 from 0, non-decreasing; reads two frames at a time."""
    reporter = reporter or SilentReporter()
    shot = np.zeros(len(frames), np.int64)
    if not len(frames):
        return shot
    previous = _thumbnail(frames.read([0])[0])
    with reporter.task("cuts", len(frames)) as advance:
        advance()
        for t in range(1, len(frames)):
            current = _thumbnail(frames.read([t])[0])
            shot[t] = shot[t - 1] + is_cut(previous, current)
            previous = current
            advance()
    return shot


def is_cut(image_1: np.ndarray, image_2: np.ndarray) -> bool:
    """Whether two neighbouring thumbnails (H, W, 3) uint8 belong to different shots."""
    if _common_colours(image_1, image_2) >= MIN_COMMON_COLOURS:
        return False
    pair = torch.from_numpy(np.stack((image_1, image_2))).permute(0, 3, 1, 2).float() / 255
    error = consistency_error(pair_flows(pair[:1], pair[1:], "fast"))
    return float((error < 1.5).float().mean()) < MIN_CONSISTENT


def _thumbnail(image: np.ndarray) -> np.ndarray:
    scale = THUMBNAIL_PX / max(image.shape[:2])
    size = (max(16, round(image.shape[1] * scale)), max(16, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _common_colours(image_1: np.ndarray, image_2: np.ndarray) -> float:
    histograms = [
        cv2.GaussianBlur(
            cv2.calcHist(
                [cv2.cvtColor(i, cv2.COLOR_RGB2LAB)], [0, 1, 2], None, [8, 16, 16], [0, 256] * 3
            ).reshape(8, -1),
            (3, 3),
            0,
        )
        for i in (image_1, image_2)
    ]
    a, b = (h / max(h.sum(), 1e-9) for h in histograms)
    return float(np.minimum(a, b).sum())

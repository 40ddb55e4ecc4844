"""The user's own depth as a prior: one file a frame, of any model.

    depth     z up to a scale, and a small shift of its inverse
    inverse   1 / z up to a scale and a shift, as relative-depth networks give it
    metric    z in metres

0 is no estimate, infinite depth is sky. Maps may have any size of the clip's shape.
"""

from pathlib import Path

import cv2
import numpy as np

from dpm_cli.config import PriorKind
from dpm_cli.errors import InputError
from dpm_cli.prior.estimate import (
    NETWORK_FOCAL_SIGMA,
    NETWORK_SHIFT_SIGMA,
    NETWORK_SIGMA_LOG,
    PriorEstimate,
    PriorInfo,
)
from dpm_cli.prior.maps import SUFFIXES, read_map
from dpm_cli.structures import Clip
from dpm_cli.video.inputs import natural_key

_ANY_SHIFT = 1.0
"""Of inverse depth, whose zero may be anywhere."""
_SHAPE = 0.02
"""Relative difference of the aspect ratios of a map and the clip that rounding may make."""


class FolderPrior:
    """One file per source frame, or one per frame of the clip, in natural order of the names."""

    def __init__(self, folder: Path, kind: PriorKind, clip: Clip):
        self.kind: PriorKind = kind
        self.size, self.source_size = clip.size, clip.source_size
        self.info = PriorInfo(str(folder), None, "the user's", f"the depth in {folder}")
        where = f"--prior {folder}"
        paths = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES]
        paths = sorted((p for p in paths if not p.name.startswith(".")), key=natural_key)
        if not paths:
            raise InputError(f"{where}: no depth there; give {', '.join(SUFFIXES)} files")
        if len({p.suffix.lower() for p in paths}) > 1:
            raise InputError(f"{where}: files of several kinds; leave one kind there")
        if len(paths) == len(clip):
            self.paths = paths
        elif len(paths) > int(clip.frame_index.max()):
            self.paths = [paths[i] for i in clip.frame_index]
        else:
            raise InputError(
                f"{where}: {len(paths)} maps for {len(clip)} frames; give one for each"
            )

    def estimate(self, t: int, image: np.ndarray) -> PriorEstimate:
        """Of frame `t`; the picture is not looked at.

        Raises:
            InputError: the file cannot be read, has another shape than the clip, or holds no depth.
        """
        found = read_map(self.paths[t], self.kind)
        height, width = found.values.shape
        source_height, source_width = self.source_size
        if abs(width / height / (source_width / source_height) - 1) > _SHAPE:
            raise InputError(
                f"{self.paths[t]}: {width}x{height} pixels, not the shape of the clip's "
                f"{source_width}x{source_height}"
            )
        known = np.isfinite(found.values) & (found.values > 0) & ~found.sky
        plain = np.where(known, found.values, 1)
        inverse, valid = _resized(plain if self.kind == "inverse" else 1 / plain, known, self.size)
        sky = cv2.resize(
            found.sky.astype(np.uint8), self.size[::-1], interpolation=cv2.INTER_NEAREST
        )
        focal_px = found.focal_px * self.size[1] / width if found.focal_px else None
        return PriorEstimate(
            inverse_depth=inverse,
            valid=valid,
            sky=sky > 0,
            sigma_log=NETWORK_SIGMA_LOG,
            shift_sigma=_ANY_SHIFT if self.kind == "inverse" else NETWORK_SHIFT_SIGMA,
            metric=self.kind == "metric",
            focal_px=focal_px,
            focal_sigma_log=NETWORK_FOCAL_SIGMA,
        )


def _resized(
    inverse: np.ndarray, known: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth and where it is known, at `size`: the nearest value of a larger map, interpolated of a smaller."""
    larger = inverse.shape[0] >= size[0]
    how = cv2.INTER_NEAREST if larger else cv2.INTER_LINEAR
    weight = known.astype(np.float32)
    total, share = (
        cv2.resize(m, size[::-1], interpolation=how) for m in (inverse * weight, weight)
    )
    valid = share > 0.5
    return np.where(valid, total / np.maximum(share, 1e-6), 0).astype(np.float32), valid

"""The camera's word: the focal length in terms of 35 mm film that a photo or video carries."""

import math

from dpm_cli.focal.estimate import FocalEstimate
from dpm_cli.structures import Clip

_FILM_DIAGONAL_MM = math.hypot(36, 24)


def camera_focal(clip: Clip) -> FocalEstimate | None:
    """Estimate from what the camera wrote, None where it wrote nothing."""
    if clip.lens is None:
        return None
    focal_px = clip.lens.focal_35mm / _FILM_DIAGONAL_MM * math.hypot(*clip.size)
    seen = f"{clip.lens.focal_35mm:g} mm of 35 mm film"
    return FocalEstimate(focal_px, clip.lens.sigma_log, "camera", seen)

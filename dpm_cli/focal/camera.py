"""The camera's word: the focal length in terms of 35 mm film that a photo or video carries."""

import math

from dpm_cli.focal.estimate import FocalEstimate
from dpm_cli.structures import FILM_DIAGONAL_MM, Clip


def camera_focal(clip: Clip) -> FocalEstimate | None:
    """Estimate from what the camera wrote, None where it wrote nothing."""
    if clip.lens is None:
        return None
    # It is that of the whole picture, also where a part of it was cut out.
    sides = (n / clip.source_from_working[i, i] for i, n in enumerate(clip.source_size[::-1]))
    focal_px = clip.lens.focal_35mm / FILM_DIAGONAL_MM * math.hypot(*sides)
    seen = clip.lens.seen or f"{clip.lens.focal_35mm:g} mm of 35 mm film"
    return FocalEstimate(focal_px, clip.lens.sigma_log, "camera", seen)

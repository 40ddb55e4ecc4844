"""Which part of the source is picture: what the user says, or what is left without bars."""

from dataclasses import replace

import numpy as np

from dpm_cli.clip_store.frames import ClipPlan, decode_clip_frames
from dpm_cli.video.bars import Area, find_bars, parse_area

_SAMPLES = 12
_LONG_SIDE = 960
_SEEK_S = 20.0
"""With more seconds between first and last sample each is sought, which is quicker than decoding all between."""


def picture_area(plan: ClipPlan, crop: str) -> Area:
    """The part of the source that `crop` asks for: auto, none, or x,y,w,h in source pixels.

    Raises:
        UsageError: `crop` is none of these, or lies outside.
    """
    if crop == "none":
        return plan.area
    if crop != "auto":
        return parse_area(crop, plan.source_size)
    shrink = max(1.0, max(plan.source_size) / _LONG_SIDE)
    height, width = (max(1, round(side / shrink)) for side in plan.source_size)
    found = find_bars(_samples(replace(plan, size=(height, width))))
    return plan.area if found is None else _in_source(found, (height, width), plan)


def _samples(plan: ClipPlan) -> list[np.ndarray]:
    """Frames spread over the clip."""
    chosen = np.unique(np.linspace(0, len(plan) - 1, min(_SAMPLES, len(plan))).round().astype(int))
    indices = plan.frame_index[chosen]
    spread = plan.timestamps[chosen[-1]] - plan.timestamps[chosen[0]]
    sought = plan.video is not None and spread > _SEEK_S
    images = []
    for part in indices[:, None] if sought else [indices]:
        with decode_clip_frames(plan, part) as frames:
            images += [frame for _, frame in frames]
    return images


def _in_source(area: Area, size: tuple[int, int], plan: ClipPlan) -> Area:
    """An area of samples of `size` in source pixels, rounded inwards; even in videos, whose colours come in pairs."""
    step = 1 if plan.video is None else 2
    x, width = _span(area.x, area.width, plan.source_size[1] / size[1], step)
    y, height = _span(area.y, area.height, plan.source_size[0] / size[0], step)
    return Area(x, y, width, height)


def _span(start: int, length: int, scale: float, step: int) -> tuple[int, int]:
    first = int(np.ceil(start * scale / step)) * step
    return first, int((start + length) * scale - first) // step * step

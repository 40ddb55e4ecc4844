"""Depth, flow and masks as colours; for eyes only, numbers are in the other files."""

import functools

import cv2
import numpy as np

_UNKNOWN = np.array((38, 38, 38), np.uint8)
_MOVING = np.array((255, 64, 32), np.float32)


def depth_picture(
    depth: np.ndarray, shown: np.ndarray, near_far: tuple[float, float]
) -> np.ndarray:
    """Picture (H, W, 3) uint8 of depth (H, W): inverse depth, near yellow, far dark violet, grey where not `shown`.

    The colours are those of viridis, which grows lighter evenly, so that equal steps of inverse depth look equal and no
    edge is seen where there is none. `near_far` are the depths at the two ends of the scale; take them over the whole
    clip, so that colours do not flicker.
    """
    near, far = 1 / near_far[0], 1 / near_far[1]
    inverse = 1 / np.maximum(depth, 1e-12)
    level = np.clip((inverse - far) / max(near - far, 1e-12), 0, 1)
    return np.where(shown[..., None], level_colours(level), _UNKNOWN)


def level_colours(level: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 of levels (...) in [0, 1]: dark violet to yellow."""
    codes = (np.asarray(level) * 255).round().astype(np.uint8)
    colours = cv2.applyColorMap(codes.reshape(-1, 1), cv2.COLORMAP_VIRIDIS)
    return colours[..., ::-1].reshape(*codes.shape, 3)


def depth_bar(near_far: tuple[float, float], width: int) -> np.ndarray:
    """The legend of `depth_picture`: a bar (40, width, 3) with depths below it, near at the left."""
    near, far = near_far
    bar = np.full((40, width, 3), 255, np.uint8)
    margin = 8
    bar[4:20, margin:-margin] = level_colours(np.linspace(1, 0, width - 2 * margin))
    for share, align in ((0, 0), (0.25, 0.5), (0.5, 0.5), (0.75, 0.5), (1, 1)):
        depth = 1 / ((1 - share) / near + share / far)
        text = f"{depth:.3g}"
        across = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0]
        at = (round(margin + share * (width - 2 * margin) - align * across), 34)
        cv2.putText(bar, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return bar


@functools.cache
def _wheel() -> np.ndarray:
    """Middlebury's colour wheel, (55, 3) in [0, 1] (Baker et al., IJCV 2011)."""
    corners = np.array(
        [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0)], np.float64
    )
    steps = (15, 6, 4, 11, 13, 6)
    arcs = [
        corners[i] + (corners[i + 1] - corners[i]) * np.arange(n)[:, None] / n
        for i, n in enumerate(steps)
    ]
    return np.concatenate(arcs).astype(np.float32)


def flow_picture(flow: np.ndarray, known: np.ndarray, longest_px: float) -> np.ndarray:
    """Picture (H, W, 3) uint8 of flow (H, W, 2): direction as hue, length as saturation up to `longest_px`.

    No motion is white; vectors longer than `longest_px` have the full colour; dark grey where not `known`.
    """
    wheel = _wheel()
    u, v = flow[..., 0], flow[..., 1]
    radius = np.minimum(np.hypot(u, v) / longest_px, 1)[..., None]
    position = (np.arctan2(-v, -u) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(position).astype(np.int64)
    share = (position - low).astype(np.float32)[..., None]
    colour = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    saturated = 1 - radius * (1 - colour)
    return np.where(known[..., None], (saturated * 255).astype(np.uint8), _UNKNOWN)


def wheel_picture(side: int) -> np.ndarray:
    """The legend of `flow_picture`: a disc (side, side, 3) of all directions and lengths on white."""
    axis = np.linspace(-1, 1, side)
    flow = np.stack(np.meshgrid(axis, axis), -1)
    picture = flow_picture(flow, np.ones((side, side), bool), 1.0)
    return np.where((np.hypot(*np.moveaxis(flow, -1, 0)) <= 1)[..., None], picture, np.uint8(255))


def mask_picture(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Image (H, W, 3) with the moving pixels of `mask` (H, W) tinted, outlined, and the rest a little darker."""
    tinted = 0.45 * image + 0.55 * _MOVING
    picture = np.where(mask[..., None], tinted, 0.8 * image).astype(np.uint8)
    outline = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    picture[outline > 0] = (255, 230, 0)
    return picture

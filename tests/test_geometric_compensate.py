"""Flow measured again without the common motion: never worse where it is kept, better for a zooming camera."""

import numpy as np
import torch

from dpm_cli.matching.compensate import compensate
from dpm_cli.matching.dense_match import box
from dpm_cli.matching.dis import consistency_error, dis_flow

SIZE = (144, 192)


def texture():
    """Smooth noise of all scales."""
    generator = np.random.default_rng(0)
    picture = np.zeros(SIZE)
    for scale in (4, 8, 16, 32):
        coarse = generator.random((SIZE[0] // scale + 2, SIZE[1] // scale + 2))
        y, x = np.mgrid[: SIZE[0], : SIZE[1]] / scale
        i, j = y.astype(int), x.astype(int)
        v, u = y - i, x - j
        top = coarse[i, j] * (1 - u) + coarse[i, j + 1] * u
        low = coarse[i + 1, j] * (1 - u) + coarse[i + 1, j + 1] * u
        picture += scale * (top * (1 - v) + low * v)
    return picture


def pair(zoom):
    """Two pictures, the second `zoom` times as large about the centre and turned a little, and the true flow."""
    import cv2

    turn = cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), 5.0, zoom)
    picture = texture()
    first = (255 * (picture - picture.min()) / np.ptp(picture)).astype(np.uint8)
    second = cv2.warpAffine(
        first, turn, SIZE[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    moved = np.stack((x, y, np.ones_like(x)), -1) @ turn.T
    return np.stack((first, second)), (moved - np.stack((x, y), -1)).astype(np.float32)


def smooth(maps):
    return box(maps[:, None], 11)[:, 0]


def plain(images):
    return torch.from_numpy(np.stack([dis_flow(images[v], images[1 - v]) for v in (0, 1)]))


def test_a_zooming_camera_is_measured_better():
    images, truth = pair(1.2)
    flow = plain(images)
    good = consistency_error(flow[None])[0] < 1
    again = compensate(images, flow, good, "medium", smooth)
    inner = (slice(24, -24), slice(24, -24))
    before, after = (np.linalg.norm(f[0].numpy() - truth, axis=-1)[inner] for f in (flow, again))
    assert np.median(after) < 0.7 * np.median(before)
    assert consistency_error(again[None]).median() <= consistency_error(flow[None]).median()


def test_without_matches_the_flow_stays():
    images, _ = pair(1.2)
    flow = plain(images)
    nothing = torch.zeros(2, *SIZE, dtype=torch.bool)
    assert torch.equal(compensate(images, flow, nothing, "medium", smooth), flow)

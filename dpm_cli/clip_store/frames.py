"""What of a clip is decoded, and the decoded frames as a stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dpm_cli.geometry.camera import source_from_working
from dpm_cli.structures import LensData
from dpm_cli.video.bars import Area
from dpm_cli.video.decode import VideoDecoder
from dpm_cli.video.image_decoder import image_decoder
from dpm_cli.video.probe import VideoInfo


@dataclass(frozen=True, eq=False)
class ClipPlan:
    """What `decode_clip` would decode."""

    name: str
    source: str
    files: tuple[Path, ...]
    video: VideoInfo | None
    """None for images."""
    source_size: tuple[int, int]
    area: Area
    """What of the source is decoded."""
    size: tuple[int, int]
    """Of the working images."""
    pixel_aspect: float
    """Width of a source pixel divided by its height."""
    lens: LensData | None
    """What the camera wrote about its lens."""
    frame_index: np.ndarray
    """(T,) int64."""
    timestamps: np.ndarray
    """(T,) float64 seconds; images have no times and are counted one a second."""
    notes: tuple[str, ...] = field(default=())
    """What the user should know of the input."""

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def source_from_working(self) -> np.ndarray:
        """(3, 3) float64."""
        A = source_from_working(self.area.size, self.size).numpy()
        A[:2, 2] += self.area.x, self.area.y
        return A


@contextmanager
def decode_clip_frames(
    plan: ClipPlan, frame_index: np.ndarray
) -> Iterator[Iterator[tuple[int, np.ndarray]]]:
    """Stream of (source index, image (H, W, 3) uint8 of `plan.size`) of the frames `frame_index` (N,), ascending."""
    if plan.video is not None:
        with VideoDecoder(plan.video, frame_index, plan.size, plan.area) as decoder:
            yield iter(decoder)
    else:
        read = image_decoder().read
        yield ((int(i), read(plan.files[int(i)], plan.area, plan.size)) for i in frame_index)

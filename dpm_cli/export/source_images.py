"""The clip's pictures in source pixels, without bars, for formats that put images beside intrinsics of the source."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dpm_cli.clip_store import decode_clip_frames, fingerprint, plan_clip
from dpm_cli.config import ExportOptions
from dpm_cli.errors import DpmError
from dpm_cli.sequence import Sequence4D
from dpm_cli.video.images import resize_image
from dpm_cli.video.inputs import clip_files


@contextmanager
def source_images(sequence: Sequence4D, options: ExportOptions) -> Iterator[Iterator[np.ndarray]]:
    """Stream of T images (H, W, 3) uint8 of `sequence.source_area`.

    The run's input is decoded again where it is still there and unchanged; otherwise the working images are enlarged
    and the user is told.
    """
    inputs = [str(item) for item in (sequence.manifest or {}).get("input", [])]
    if not _unchanged(inputs, sequence):
        options.reporter.note(
            "the source of this run is gone or changed: working images are enlarged instead"
        )
        images = (sequence.read(t, "image") for t in range(len(sequence)))
        yield (
            resize_image(image, sequence.source_area.size) for image in images if image is not None
        )
        return
    area = sequence.source_area
    plan = plan_clip(inputs, size=area.size, crop=area)
    with decode_clip_frames(plan, sequence.frame_index) as frames:
        yield (frame for _, frame in frames)


def _unchanged(inputs: list[str], sequence: Sequence4D) -> bool:
    if not inputs or not all(Path(item).exists() for item in inputs):
        return False
    try:
        digest = fingerprint(tuple(clip_files(inputs)))
    except DpmError:
        return False
    return digest == (sequence.manifest or {}).get("fingerprint")

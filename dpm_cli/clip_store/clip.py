"""From what the user named to a `Clip`: plan which frames at which size, then decode them into a store."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dpm_cli.clip_store.store import ClipStore, ClipStoreWriter, read_index
from dpm_cli.errors import InputError, UsageError
from dpm_cli.geometry.camera import source_from_working
from dpm_cli.progress import Reporter
from dpm_cli.structures import Clip
from dpm_cli.video.decode import VideoDecoder, can_tone_map
from dpm_cli.video.images import image_size, read_image, resize_image
from dpm_cli.video.inputs import clip_files, clip_name, is_image
from dpm_cli.video.probe import VideoInfo, probe
from dpm_cli.video.select import select_frames, working_size


@dataclass(frozen=True, eq=False)
class ClipPlan:
    """What `decode_clip` would decode."""

    name: str
    source: str
    files: tuple[Path, ...]
    video: VideoInfo | None
    """None for images."""
    source_size: tuple[int, int]
    size: tuple[int, int]
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
        return source_from_working(self.source_size, self.size).numpy()


def plan_clip(
    inputs: list[str],
    *,
    long_side: int = 512,
    size: tuple[int, int] | None = None,
    multiple: int = 1,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    stride: int = 1,
    max_frames: int | None = None,
) -> ClipPlan:
    """Decide frames and working size of one clip without decoding it.

    `inputs` is one of the lists of `split_inputs`. `size` (height, width) overrides `long_side` and `multiple`.

    Raises:
        InputError: the input cannot be read, or images differ in size.
        UsageError: options that contradict each other or the input.
    """
    files = tuple(clip_files(inputs))
    if is_image(files[0]):
        if start is not None or end is not None or fps is not None:
            raise UsageError("images carry no times: use --stride and --max-frames")
        video, notes = None, ()
        source_size, pixel_aspect = _common_size(files), 1.0
        times = np.arange(len(files), dtype=np.float64)
    else:
        video = probe(files[0])
        notes = video.notes
        source_size, pixel_aspect = video.size, video.pixel_aspect
        times = video.timestamps
        if video.hdr and not can_tone_map():
            notes = (
                *notes,
                "HDR video, and this ffmpeg has no zscale filter: colours are not tone-mapped",
            )
    indices = select_frames(
        times, start=start, end=end, fps=fps, stride=stride, max_frames=max_frames
    )
    return ClipPlan(
        name=clip_name(inputs),
        source=inputs[0] if len(inputs) == 1 else f"{len(inputs)} images, first {inputs[0]}",
        files=files,
        video=video,
        source_size=source_size,
        size=size or working_size(source_size, long_side, multiple, pixel_aspect),
        frame_index=indices,
        timestamps=times[indices],
        notes=notes,
    )


def _common_size(files: tuple[Path, ...]) -> tuple[int, int]:
    sizes = [image_size(path) for path in files]
    odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if odd is not None:
        (h1, w1), (h2, w2) = sizes[0], sizes[odd]
        raise InputError(
            f"images differ in size: {files[0].name} is {w1}x{h1}, {files[odd].name} is {w2}x{h2}; "
            "resize them to one size or give them as separate clips"
        )
    return sizes[0]


def fingerprint(files: tuple[Path, ...]) -> str:
    """sha256 over the content of the files, in order; names do not count."""
    total = hashlib.sha256()
    for path in files:
        try:
            with open(path, "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return total.hexdigest()


def decode_clip(plan: ClipPlan, store: Path, reporter: Reporter) -> Clip:
    """Decode the frames of `plan` into the folder `store` and open it; a store of the same plan is used as it is.

    Frames that turn out not to be decodable are left out of the clip and reported.

    Raises:
        InputError: the input cannot be read or no frame of it can.
    """
    digest = fingerprint(plan.files)
    key = _store_key(plan, digest)
    for note in plan.notes:
        reporter.note(note)
    index = read_index(store)
    if index is not None and index.get("key") == key:
        frames = ClipStore(store, index["count"], plan.size)
        kept = np.array(index["kept"], np.int64)
    else:
        frames, kept = _fill_store(plan, store, key, reporter)
    if len(kept) < len(plan):
        reporter.note(
            f"{plan.name}: {len(kept)} of {len(plan)} frames could be decoded, the rest is left out"
        )
    return Clip(
        name=plan.name,
        frames=frames,
        size=plan.size,
        source_size=plan.source_size,
        source_from_working=plan.source_from_working,
        frame_index=plan.frame_index[kept],
        timestamps=plan.timestamps[kept],
        source=plan.source,
        fingerprint=digest,
    )


def _store_key(plan: ClipPlan, digest: str) -> str:
    """Identity of the decoded frames: content, frames taken, size."""
    identity = json.dumps([digest, plan.frame_index.tolist(), plan.size])
    return hashlib.sha256(identity.encode()).hexdigest()


def _fill_store(
    plan: ClipPlan, store: Path, key: str, reporter: Reporter
) -> tuple[ClipStore, np.ndarray]:
    writer = ClipStoreWriter(store, plan.size)
    position = {int(index): t for t, index in enumerate(plan.frame_index)}
    kept = []
    with (
        reporter.task("decoding", len(plan)) as advance,
        decode_clip_frames(plan, plan.frame_index) as frames,
    ):
        for index, frame in frames:
            writer.append(frame)
            kept.append(position[index])
            advance()
    if not kept:
        raise InputError(f"{plan.source}: none of the {len(plan)} chosen frames can be decoded")
    return writer.finish({"key": key, "kept": kept}), np.array(kept, np.int64)


@contextmanager
def decode_clip_frames(
    plan: ClipPlan, frame_index: np.ndarray
) -> Iterator[Iterator[tuple[int, np.ndarray]]]:
    """Stream of (source index, image (H, W, 3) uint8 of `plan.size`) of the frames `frame_index` (N,), ascending."""
    if plan.video is not None:
        with VideoDecoder(plan.video, frame_index, plan.size) as decoder:
            yield iter(decoder)
    else:
        yield ((int(i), resize_image(read_image(plan.files[i]), plan.size)) for i in frame_index)

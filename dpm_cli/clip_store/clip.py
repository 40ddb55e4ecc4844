"""The planned frames of a clip, decoded into a store once and then opened."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dpm_cli.clip_store.frames import ClipPlan, decode_clip_frames
from dpm_cli.clip_store.plan import fingerprint
from dpm_cli.clip_store.store import ClipStore, ClipStoreWriter, read_index
from dpm_cli.errors import InputError
from dpm_cli.progress import Reporter
from dpm_cli.structures import Clip
from dpm_cli.video.image_decoder import image_decoder


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
        image_decoder().rest()
    if len(kept) < len(plan):
        reporter.note(
            f"{plan.name}: {len(kept)} of {len(plan)} frames could be decoded, the rest is left out"
        )
    return replace(
        planned_clip(plan),
        frames=frames,
        frame_index=plan.frame_index[kept],
        timestamps=plan.timestamps[kept],
        fingerprint=digest,
    )


def planned_clip(plan: ClipPlan) -> Clip:
    """The clip of a plan of which every frame can be decoded, before it is: without fingerprint and pictures."""
    return Clip(
        name=plan.name,
        frames=_Undecoded(),
        size=plan.size,
        source_size=plan.source_size,
        source_from_working=plan.source_from_working,
        frame_index=plan.frame_index,
        timestamps=plan.timestamps,
        source=plan.source,
        fingerprint="",
        pixel_aspect=plan.pixel_aspect,
        lens=plan.lens,
    )


class _Undecoded:
    """No frames yet."""

    def __len__(self) -> int:
        return 0

    def read(self, indices: Sequence[int]) -> np.ndarray:
        raise IndexError(f"frames {list(indices)} are not decoded yet")


def _store_key(plan: ClipPlan, digest: str) -> str:
    """Identity of the decoded frames: content, frames taken, part of the source, size."""
    identity = json.dumps([digest, plan.frame_index.tolist(), str(plan.area), plan.size])
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

"""Clips on disk for training on a CPU: render once, read any pair of frames with exact truth many times.

    folder/clips.json            version, size, frames, split, number of clips and shards
    folder/00000/<field>.npy     one array per field of `ClipTruth`, memory-mapped when read

Depth is stored as 16 bit logarithm (relative error below 1e-4), everything else as it is.
"""

import json
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpm_cli.errors import InputError, UsageError
from dpm_cli.files import atomic_path, write_json
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.structures import PairTruth
from dpm_cli.synthetic.render import render_clips
from dpm_cli.synthetic.seeds import scene_seed
from dpm_cli.synthetic.truth import PER_FRAME, ClipTruth

VERSION = 1
_NEAR, _FAR = 0.01, 5000.0
_LEVELS = 65534
_SHARD_CLIPS = 50
_PER_CLIP = ("kind", "mover", "instance", "seed")


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """Depth as uint16 logarithm; 0 stays 0 (sky)."""
    level = np.log(np.clip(depth, _NEAR, _FAR) / _NEAR) * (_LEVELS / math.log(_FAR / _NEAR))
    return np.where(depth > 0, np.round(level) + 1, 0).astype(np.uint16)


def decode_depth(code: Tensor) -> Tensor:
    """Inverse of `encode_depth`, float32."""
    value = ((code.float() - 1) * (math.log(_FAR / _NEAR) / _LEVELS)).exp() * _NEAR
    return value * (code > 0)


def write_cache(
    folder: Path | str,
    split: str,
    clips: int,
    frames: int,
    size: tuple[int, int],
    *,
    camera: str | None = None,
    first: int = 0,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> Path:
    """Render scenes `first` to `first + clips` of a split into shards; shards already there are kept.

    A folder with other settings is refused (UsageError). Each worker is a process with one thread.
    """
    folder = Path(folder)
    settings = {
        "version": VERSION, "split": split, "clips": clips, "frames": frames, "size": list(size),
        "camera": camera, "first": first, "shard_clips": _SHARD_CLIPS,
    }  # fmt: skip
    index = folder / "clips.json"
    if index.exists() and json.loads(index.read_text()) != settings:
        raise UsageError(f"{folder} holds a clip cache with other settings: choose another folder")
    write_json(index, settings)
    jobs = []
    for shard, start in enumerate(range(0, clips, _SHARD_CLIPS)):
        if not (folder / f"{shard:05d}" / "done").exists():
            numbers = range(first + start, first + min(start + _SHARD_CLIPS, clips))
            seeds = [scene_seed(split, n) for n in numbers]
            jobs.append((folder / f"{shard:05d}", seeds, frames, tuple(size), camera))
    reporter = reporter or SilentReporter()
    with reporter.task("render", len(jobs)) as advance:
        if workers == 1:
            for job in jobs:
                _write_shard(job)
                advance()
        else:
            with ProcessPoolExecutor(
                workers, initializer=torch.set_num_threads, initargs=(1,)
            ) as pool:
                for _ in pool.map(_write_shard, jobs):
                    advance()
    return folder


def _write_shard(job) -> None:
    """Render and write one shard; its `done` file comes last."""
    folder, seeds, frames, size, camera = job
    truth = render_clips(seeds, frames, size, camera=camera)
    for name in PER_FRAME + _PER_CLIP:
        array = getattr(truth, name).numpy()
        if name == "depth":
            array = encode_depth(array)
        elif name == "object_id":
            array = array.astype(np.int8)
        with atomic_path(folder / f"{name}.npy") as temporary:
            np.save(temporary, array)
    (folder / "done").touch()


class PairCache:
    """Reader of a clip cache; safe to make in several processes."""

    def __init__(self, folder: Path | str):
        """Open `folder`; InputError where it is no complete cache."""
        self.folder = Path(folder)
        index = self.folder / "clips.json"
        if not index.exists():
            raise InputError(f"{folder} is no clip cache: write one first")
        self.settings = json.loads(index.read_text())
        self.frames: int = self.settings["frames"]
        self.size: tuple[int, int] = tuple(self.settings["size"])
        count = math.ceil(self.settings["clips"] / self.settings["shard_clips"])
        missing = [s for s in range(count) if not (self.folder / f"{s:05d}" / "done").exists()]
        if missing:
            raise InputError(
                f"{folder} is incomplete: {len(missing)} of {count} shards are missing"
            )
        self._shards = [
            {
                name: np.load(self.folder / f"{s:05d}" / f"{name}.npy", mmap_mode="r")
                for name in PER_FRAME + _PER_CLIP
            }
            for s in range(count)
        ]

    def __len__(self) -> int:
        """Number of clips."""
        return self.settings["clips"]

    def truth(self, clips: Tensor, frames: Tensor) -> ClipTruth:
        """Truth of clips (B,) at frames (B, S): a `ClipTruth` of S frames."""
        shard_clips = self.settings["shard_clips"]
        places = [divmod(int(c), shard_clips) for c in clips.tolist()]
        chosen = frames.numpy()
        fields = {}
        for name in PER_FRAME + _PER_CLIP:
            rows = [self._shards[s][name][k] for s, k in places]
            if name in PER_FRAME:
                rows = [r[f] for r, f in zip(rows, chosen, strict=True)]
            fields[name] = torch.from_numpy(np.stack(rows))
        fields["depth"] = decode_depth(fields["depth"].int())
        fields["object_id"] = fields["object_id"].to(torch.int16)
        return ClipTruth(**fields)

    def sample(
        self,
        batch: int,
        generator: torch.Generator | None = None,
        strides: tuple[int, int] = (1, 5),
    ) -> PairTruth:
        """Random pairs at strides low to high (both included, at most frames - 1), half of them backward in time."""
        low, high = strides[0], min(strides[1], self.frames - 1)
        clip = torch.randint(len(self), (batch,), generator=generator)
        stride = torch.randint(low, high + 1, (batch,), generator=generator)
        start = (torch.rand(batch, generator=generator) * (self.frames - stride)).long()
        frames = torch.stack((start, start + stride), 1)
        backward = torch.rand(batch, generator=generator) < 0.5
        frames = torch.where(backward[:, None], frames.flip(1), frames)
        return self.truth(clip, frames).pair(0, 1)

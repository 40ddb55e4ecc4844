"""Clips on disk for training on a CPU: render once, read any pair of frames with exact truth many times.

    folder/clips.json            version, size, times, split, number of clips and shards
    folder/00000/<field>.npy     one array per field of `ClipTruth`, memory-mapped when read

Depth is stored as 16 bit logarithm (relative error below 1e-4), everything else as it is.
"""

import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpm_cli.errors import InputError, UsageError
from dpm_cli.files import atomic_path, write_json
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.synthetic.render import render_at
from dpm_cli.workshop.synthetic.seeds import scene_seed
from dpm_cli.workshop.synthetic.truth import PER_FRAME, ClipTruth

VERSION = 2
_NEAR, _FAR = 0.01, 5000.0
_LEVELS = 65534
_SHARD_CLIPS = 50
_PER_CLIP = ("kind", "mover", "instance", "seed")
RULER = (0, 1, 3, 8)
"""Frames of a clip that are worth rendering: any two are another stride apart (a Golomb ruler), so four frames give
strides 1, 2, 3, 5, 7 and 8, and for the same time of rendering there are twice as many scenes as with all nine."""


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
    times: Sequence[int],
    size: tuple[int, int],
    *,
    camera: str | None = None,
    first: int = 0,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> Path:
    """Render frames `times` of scenes `first` to `first + clips` of a split into shards; those already there are kept.

    A folder with other settings is refused (UsageError). Each worker is a process with one thread.
    """
    folder = Path(folder)
    settings = {
        "version": VERSION, "split": split, "clips": clips, "times": list(times), "size": list(size),
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
            jobs.append((folder / f"{shard:05d}", seeds, tuple(times), tuple(size), camera))
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
    folder, seeds, times, size, camera = job
    moments = torch.tensor(times).expand(len(seeds), -1)
    truth = render_at(torch.tensor(seeds), moments, size, camera)
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
        self.times = torch.tensor(self.settings["times"])
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
        """Random pairs at strides low to high (both included) as far as the clips have them, half backward in time.

        Every stride is equally likely; UsageError where the clips have none of them.
        """
        before, after = torch.triu_indices(len(self.times), len(self.times), 1)
        stride = self.times[after] - self.times[before]
        wanted = (stride >= strides[0]) & (stride <= strides[1])
        if not wanted.any():
            raise UsageError(
                f"{self.folder} has no frames {strides[0]} to {strides[1]} apart: choose other strides"
            )
        weight = wanted / stride.bincount()[stride]
        clip = torch.randint(len(self), (batch,), generator=generator)
        pair = torch.multinomial(weight, batch, replacement=True, generator=generator)
        frames = torch.stack((before[pair], after[pair]), 1)
        backward = torch.rand(batch, generator=generator) < 0.5
        frames = torch.where(backward[:, None], frames.flip(1), frames)
        return self.truth(clip, frames).pair(0, 1)

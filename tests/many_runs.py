"""Many videos in one process: resident memory, open files and threads after each of them.

    python tests/many_runs.py [--count 50] [--model geometric] [--frames 3]

Prints a table and fails where memory grows by more than a megabyte a video after the first ten, or files stay open.
"""

import argparse
import json
import os
import tempfile
import threading
from pathlib import Path

import numpy as np

from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.devices import used_memory_bytes
from dpm_cli.pipeline import reconstruct_many
from dpm_cli.progress import SilentReporter
from dpm_cli.video.encode import write_mp4
from dpm_cli.workshop.synthetic import render_clips, scene_seed

_SIZE = (48, 64)
_WARM = 10
_MOST_MIB = 1.0


class Meter(SilentReporter):
    """Looks at the process at the end of every run, which is when its times are told."""

    def __init__(self):
        self.seen: list[tuple[float, int, int]] = []

    def detail(self, message: str) -> None:
        if "write " in message:
            files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
            self.seen.append((used_memory_bytes() / 2**20, files, threading.active_count()))


def videos(folder: Path, count: int, frames: int) -> list[Path]:
    """Rendered clips, each of another scene."""
    seeds = [scene_seed("test", n) for n in range(count)]
    clips = render_clips(seeds, frames, _SIZE, camera="orbit")
    paths = [folder / f"{n:03d}.mp4" for n in range(count)]
    for path, images in zip(paths, clips.images.permute(0, 1, 3, 4, 2).numpy(), strict=True):
        write_mp4(path, iter(images), 10.0)
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--model", default="geometric")
    parser.add_argument("--frames", type=int, default=3)
    args = parser.parse_args()
    meter = Meter()
    with tempfile.TemporaryDirectory() as root:
        paths = videos(Path(root), args.count, args.frames)
        targets = [RunTarget((str(path),), path.with_suffix("")) for path in paths]
        settings = ReconstructSettings(model=args.model, device="cpu", prior="none")
        reconstruct_many(targets, settings, reporter=meter)
    for n in sorted({0, 1, 4, *range(_WARM - 1, len(meter.seen), 10), len(meter.seen) - 1}):
        rss, files, threads = meter.seen[n]
        print(f"after {n + 1:3d}: {rss:7.1f} MiB, {files} files open, {threads} threads")
    late = np.array(meter.seen[min(_WARM, len(meter.seen) // 2) :])
    growth = float(np.polyfit(np.arange(len(late)), late[:, 0], 1)[0]) if len(late) > 2 else 0.0
    more_files = int(late[-1, 1] - late[0, 1])
    print(json.dumps({"mib_a_video": round(growth, 3), "more_files": more_files}))
    return int(growth > _MOST_MIB or more_files > 2)


if __name__ == "__main__":
    raise SystemExit(main())

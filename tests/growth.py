"""Time, memory and disk of runs as clips get longer, larger and more densely paired; a json and a plot.

    python tests/growth.py OUT [--model geometric] [--frames 100,300,1000] [--sizes 96,160,256] [--pairs 1 1,2,4 auto]

Every run is a process of its own on one rendered film, of which it takes more or fewer frames. Peak memory is the
system's count for that process (its ffmpeg is not in it), disk what the run folder holds at its fullest, looked at
every second. Runs that OUT/growth.json has already are not made again; `--plot-only` draws what is there.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from dpm_cli.video.encode import write_mp4
from dpm_cli.workshop.synthetic import render_at, scene_seed

_FILM = (192, 320)
_STRIP = 50
"""Frames rendered at a time."""


def film(path: Path, frames: int) -> Path:
    """A camera that swings about a scene with movers, `frames` long."""

    def images():
        for start in range(0, frames, _STRIP):
            # Exposure is set by the first frame: every strip gets that of the film.
            times = torch.tensor([[0, *range(start, min(start + _STRIP, frames))]])
            clip = render_at(torch.tensor([scene_seed("test", 1)]), times, _FILM, camera="orbit")
            yield from clip.images[0, 1:].permute(0, 2, 3, 1).numpy()

    if not path.is_file():
        write_mp4(path, images(), 25.0, quality=12)
    return path


def folder_bytes(folder: Path) -> int:
    """Bytes of all files that are there while one looks."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(Path(where) / name).st_size
            except FileNotFoundError:
                continue
    return total


def measure(video: Path, run: Path, model: str, frames: int, size: int, pairs: str) -> dict:
    """One run; the folder is removed again."""
    words = [sys.executable, "-m", "dpm_cli", "reconstruct", str(video), "-o", str(run), "-q"]
    words += ["--model", model, "--device", "cpu", "--prior", "none", "--max-frames", str(frames)]
    words += ["--size", str(size), "--pairs", pairs]
    begun = time.monotonic()
    child = subprocess.Popen(words)
    disk, looked, usage, status = 0, 0.0, None, 0
    while usage is None:
        done, status, found = os.wait4(child.pid, os.WNOHANG)
        usage = found if done else None
        if time.monotonic() - looked > 1:
            disk, looked = max(disk, folder_bytes(run)), time.monotonic()
        time.sleep(0.05)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {child.returncode}")
    manifest = json.loads((run / "dpm.json").read_text())
    result = {
        "model": model,
        "frames": frames,
        "size": manifest["working_size"],
        "strides": pairs,
        "pairs": manifest["pairs"],
        "wall_s": round(time.monotonic() - begun, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mib": usage.ru_maxrss // 1024,
        "peak_disk_mib": disk >> 20,
        "run_mib": folder_bytes(run) >> 20,
        "stages_s": {k: round(v, 1) for k, v in manifest["timings_s"].items()},
    }
    shutil.rmtree(run)
    return result


def wanted(args: argparse.Namespace) -> list[tuple[int, int, str]]:
    """(frames, size, pairs) of every run: one of the three varies, the others stay."""
    runs = [(args.few, size, "auto") for size in args.sizes]
    runs += [(args.few, args.size, pairs) for pairs in args.pairs]
    runs += [(frames, args.size, "auto") for frames in args.frames]
    return list(dict.fromkeys(runs))


def plot(results: list[dict], path: Path) -> None:
    """Three columns: frames, pixels, pairs; CPU seconds above, peak memory below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    few = min(r["frames"] for r in results)
    usual = max((r["size"] for r in results if r["frames"] > few), default=results[0]["size"])
    axes = {
        "frames": [r for r in results if r["strides"] == "auto" and r["size"] == usual],
        "pixels": [r for r in results if r["strides"] == "auto" and r["frames"] == few],
        "pairs": [r for r in results if r["size"] == usual and r["frames"] == few],
    }
    figure, panels = pyplot.subplots(2, 3, figsize=(9, 4.2), constrained_layout=True)
    for column, (name, rows) in enumerate(axes.items()):
        for model in dict.fromkeys(r["model"] for r in rows):
            own = [r for r in rows if r["model"] == model]
            x = np.array([np.prod(r["size"]) if name == "pixels" else r[name] for r in own])
            order = np.argsort(x)
            for row, key in enumerate(("cpu_s", "peak_rss_mib")):
                y = np.array([r[key] for r in own], float)[order]
                panels[row, column].plot(x[order], y, "o-", label=model, markersize=4)
        panels[1, column].set_xlabel(f"{name}{' of a frame' if name == 'pixels' else ''}")
        for panel in panels[:, column]:
            panel.set_ylim(bottom=0)
            panel.set_xlim(left=0)
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("CPU seconds")
    panels[1, 0].set_ylabel("peak memory, MiB")
    panels[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = lambda text: [int(word) for word in text.split(",")]
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="geometric")
    parser.add_argument("--frames", type=numbers, default=[100, 300, 1000])
    parser.add_argument("--sizes", type=numbers, default=[96, 160, 256])
    parser.add_argument("--few", type=int, default=24, help="frames where size or pairs vary")
    parser.add_argument("--pairs", nargs="*", default=["1", "1,2,4", "auto"])
    parser.add_argument("--size", type=int, default=160, help="where frames or pairs vary")
    parser.add_argument("--plot-only", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    table = args.out / "growth.json"
    results = json.loads(table.read_text()) if table.is_file() else []
    known = {(r["model"], r["frames"], max(r["size"]), r["strides"]) for r in results}
    for frames, size, pairs in [] if args.plot_only else wanted(args):
        if (args.model, frames, size, pairs) in known:
            continue
        video = film(args.out / "film.mp4", max(args.frames))
        results.append(measure(video, args.out / "run", args.model, frames, size, pairs))
        print(json.dumps(results[-1]), flush=True)
        table.write_text(json.dumps(results, indent=1) + "\n")
    plot(results, args.out / "growth.png")


if __name__ == "__main__":
    main()

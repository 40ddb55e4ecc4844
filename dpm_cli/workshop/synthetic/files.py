"""Rendered clips as files: a video or numbered pictures, and beside it the truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from PIL import Image

from dpm_cli.errors import UsageError
from dpm_cli.files import atomic_path
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.video.encode import write_mp4
from dpm_cli.workshop.synthetic.camera_paths import check_camera
from dpm_cli.workshop.synthetic.fuse import fusing
from dpm_cli.workshop.synthetic.render import render_clips
from dpm_cli.workshop.synthetic.seeds import scene_seed
from dpm_cli.workshop.synthetic.sequence_truth import write_truth
from dpm_cli.workshop.synthetic.truth import ClipTruth

ClipFormat = Literal["mp4", "frames"]


@dataclass(frozen=True)
class ClipFiles:
    """Where one clip was written."""

    clip: Path
    """The mp4, or the folder of pictures."""
    truth: Path
    """The npz."""
    seed: int


def clip_paths(out: Path, split: str, index: int, form: ClipFormat) -> tuple[Path, Path]:
    """Paths of a clip and its truth; `out` is a folder, or an .mp4 for a single clip."""
    if out.suffix == ".mp4":
        return out, out.with_name(f"{out.stem}_truth.npz")
    name = f"{split}_{index:06d}"
    return out / (f"{name}.mp4" if form == "mp4" else name), out / f"{name}_truth.npz"


def parse_form(text: str) -> ClipFormat:
    """`mp4` or `frames`, else UsageError."""
    if text not in get_args(ClipFormat):
        raise UsageError(f"unknown format {text!r}: choose {' or '.join(get_args(ClipFormat))}")
    return cast(ClipFormat, text)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of `HxW`, or of a long side with 4:3 pictures.

    Raises:
        UsageError: neither.
    """
    try:
        parts = [int(p) for p in text.lower().split("x")]
    except ValueError:
        parts = []
    if len(parts) == 1 and parts[0] > 0:
        return round(parts[0] * 3 / 8) * 2, parts[0]
    if len(parts) == 2 and min(parts) > 0:
        return parts[0], parts[1]
    raise UsageError(f"size {text!r} is neither HEIGHTxWIDTH nor a long side in pixels")


def render_files(
    out: Path,
    *,
    split: str,
    index: int,
    clips: int,
    frames: int,
    size: tuple[int, int],
    fps: float = 24.0,
    camera: str | None = None,
    form: ClipFormat = "mp4",
    supersample: int = 1,
    device: torch.device | str = "cpu",
    compile: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> list[ClipFiles]:
    """Render scenes `index` to `index + clips` of a split into `out`, each as a clip and its truth.

    `compile` uses fused kernels (`fuse.py`).

    Raises:
        UsageError: results are there already, an .mp4 is named for several clips, or a bad option.
    """
    if out.suffix == ".mp4" and (clips != 1 or form != "mp4"):
        raise UsageError(
            f"{out} can hold one mp4 only: give a folder for several clips or for frames"
        )
    jobs = [(n, *clip_paths(out, split, n, form)) for n in range(index, index + clips)]
    if camera is not None:
        check_camera(camera)
    first = scene_seed(split, index)
    there = [p for _, *paths in jobs for p in paths if p.exists()]
    if there and not overwrite:
        raise UsageError(f"{there[0]} exists: give --overwrite or another place")
    results = []
    with fusing(compile), (reporter or SilentReporter()).task("render", clips) as advance:
        for seed, (_, clip, path) in enumerate(jobs, first):
            seeds = [seed]
            truth = render_clips(
                seeds, frames, size, camera=camera, supersample=supersample, device=device
            )
            results.append(write_clip(truth, clip, path, form=form, fps=fps))
            advance()
    return results


def write_clip(
    truth: ClipTruth, clip: Path, path: Path, *, form: ClipFormat, fps: float
) -> ClipFiles:
    """Write one clip (B = 1) and its truth; a folder of pictures loses none that are not replaced."""
    images = truth.images[0].permute(0, 2, 3, 1).cpu().numpy()
    if form == "mp4":
        write_mp4(clip, list(images), fps, quality=20)
    else:
        _write_frames(clip, images)
    write_truth(path, truth, fps)
    return ClipFiles(clip=clip, truth=path, seed=int(truth.seed[0]))


def _write_frames(folder: Path, images: np.ndarray) -> None:
    for number, image in enumerate(images):
        with atomic_path(folder / f"{number:06d}.png") as temporary:
            Image.fromarray(image).save(temporary, compress_level=3)

"""Rendered clips as files: a video or numbered pictures, and beside it the truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dpm_cli.devices import pick_device
from dpm_cli.errors import UsageError
from dpm_cli.files import atomic_path
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.video.encode import write_mp4
from dpm_cli.workshop.settings import ClipFormat, SynthSettings
from dpm_cli.workshop.synthetic.camera_paths import check_camera
from dpm_cli.workshop.synthetic.fuse import fusing
from dpm_cli.workshop.synthetic.render import render_clips
from dpm_cli.workshop.synthetic.seeds import scene_seed
from dpm_cli.workshop.synthetic.sequence_truth import write_truth
from dpm_cli.workshop.synthetic.truth import ClipTruth


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


def render_files(
    out: Path,
    settings: SynthSettings,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> list[ClipFiles]:
    """Render scenes `index` to `index + clips` of a split into `out`, each as a clip and its truth.

    `settings.compile` uses fused kernels (`fuse.py`).

    Raises:
        UsageError: results are there already, an .mp4 is named for several clips, or a bad option.
    """
    form, index, clips = settings.form, settings.index, settings.clips
    if out.suffix == ".mp4" and (clips != 1 or form != "mp4"):
        raise UsageError(
            f"{out} can hold one mp4 only: give a folder for several clips or for frames"
        )
    jobs = [clip_paths(out, settings.split, n, form) for n in range(index, index + clips)]
    if settings.camera is not None:
        check_camera(settings.camera)
    device, first = pick_device(settings.device), scene_seed(settings.split, index)
    # Apple's GPUs have no double precision and are slow at 64 bit integers, which scenes are hashed with.
    device = torch.device("cpu") if device.type == "mps" else device
    there = [path for paths in jobs for path in paths if path.exists()]
    if there and not overwrite:
        raise UsageError(f"{there[0]} exists: give --overwrite or another place")
    results = []
    with (
        fusing(settings.compile),
        (reporter or SilentReporter()).task("render", clips) as advance,
    ):
        for seed, (clip, path) in enumerate(jobs, first):
            truth = render_clips(
                [seed],
                settings.frames,
                settings.size,
                camera=settings.camera,
                supersample=settings.supersample,
                device=device,
            )
            results.append(write_clip(truth, clip, path, form=form, fps=settings.fps))
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
        write_frames(clip, images)
    write_truth(path, truth, fps)
    return ClipFiles(clip=clip, truth=path, seed=int(truth.seed[0]))


def write_frames(folder: Path, images: np.ndarray) -> None:
    """Images (T, H, W, 3) uint8 as PNG files by number, in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        with atomic_path(folder / f"{number:06d}.png") as temporary:
            Image.fromarray(image).save(temporary, compress_level=3)

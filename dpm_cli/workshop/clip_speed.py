"""A whole clip through `dpm reconstruct`, timed; its alignment against the published optimiser on the same pairs."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dpm_cli.config import ReconstructSettings
from dpm_cli.devices import pick_device
from dpm_cli.passes.pairs import pair_graph
from dpm_cli.pipeline import reconstruct
from dpm_cli.progress import Reporter
from dpm_cli.sequence import read_manifest
from dpm_cli.workshop.published_aligner import STEPS, PublishedAligner, seconds_a_step
from dpm_cli.workshop.settings import BenchmarkSettings
from dpm_cli.workshop.synthetic import ClipTruth, render_clip, scene_seed
from dpm_cli.workshop.synthetic.files import write_frames

_TIMED_STEPS = 3
"""Of the published optimiser: all take the same time."""


@dataclass(frozen=True)
class ClipSpeed:
    """Times in seconds of one rendered clip."""

    model: str
    device: str
    frames: int
    size: tuple[int, int]
    """(height, width)."""
    pairs: int
    """Unordered."""
    end_to_end_s: float
    """From the pictures to all files of the run, the model loaded in it."""
    align_s: float
    """Of that, from stored passes to cameras and depth in one world, bundle adjustment included."""
    published_align_s: float
    """Of the published optimiser for the same pairs, both directions: a step's time as often as it is made."""

    @property
    def frames_per_second(self) -> float:
        """Of the whole run."""
        return self.frames / self.end_to_end_s

    @property
    def alignment_speedup(self) -> float:
        """Time of the published alignment over ours."""
        return self.published_align_s / self.align_s


def clip_speed(settings: BenchmarkSettings, reporter: Reporter) -> ClipSpeed:
    """Render a clip, reconstruct it as a user would, and time the published alignment of its pairs.

    Raises:
        DpmError: see `dpm_cli.pipeline.reconstruct`.
    """
    device = pick_device(settings.device)
    truth = render_clip(scene_seed("test", 0), settings.frames, settings.size, camera="hand")
    with tempfile.TemporaryDirectory(prefix="dpm-benchmark-") as name:
        folder = Path(name)
        write_frames(folder / "frames", truth.images[0].permute(0, 2, 3, 1).numpy())
        run = ReconstructSettings(
            device=settings.device, dtype=settings.dtype, pairs=settings.pairs, prior="none"
        )
        began = time.perf_counter()
        reconstruct(str(folder / "frames"), folder / "run", run, reporter=reporter)
        seconds = time.perf_counter() - began
        manifest = read_manifest(folder / "run")
    assert manifest is not None
    pairs = torch.from_numpy(pair_graph(np.zeros(settings.frames, np.int64), settings.pairs))
    with reporter.task("published alignment", None):
        step_s = seconds_a_step(_published(truth, pairs, device), _TIMED_STEPS)
    return ClipSpeed(
        model=manifest["model"]["name"],
        device=str(device),
        frames=settings.frames,
        size=settings.size,
        pairs=len(pairs),
        end_to_end_s=seconds,
        align_s=manifest["timings_s"]["align"],
        published_align_s=STEPS * step_s,
    )


def _published(truth: ClipTruth, pairs: torch.Tensor, device: torch.device) -> PublishedAligner:
    """The published alignment of a clip's exact maps, every pair in both directions."""
    both = torch.cat((pairs, pairs.flip(1)))
    maps = [truth.pair(int(i), int(j)) for i, j in both]
    points = torch.cat([torch.stack((m.points[:, 0, 0], m.points[:, 1, 1]), 1) for m in maps])
    points = points.nan_to_num(1.0, 1.0, 1.0).float().to(device)
    confidence = torch.ones_like(points[..., 0])
    return PublishedAligner(both.to(device), points, confidence).to(device)

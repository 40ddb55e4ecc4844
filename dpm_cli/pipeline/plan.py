"""What a run would do and cost, without doing it: the answer to `--dry-run`."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpm_cli.clip_store import ClipPlan, plan_clip
from dpm_cli.config import ClipSettings, ReconstructSettings, RunTarget
from dpm_cli.passes.engine import predict_pairs
from dpm_cli.pipeline.disk import run_bytes
from dpm_cli.pipeline.machine import Machine, load_machine
from dpm_cli.pipeline.memory import most_passes, plan_memory, task_of
from dpm_cli.predictors.protocol import Predictor, PredictorInfo
from dpm_cli.prior.choose import load_prior
from dpm_cli.progress import SilentReporter
from dpm_cli.structures import Clip


@dataclass(frozen=True)
class Plan:
    """Expected work of one run; an upper bound where cuts shorten the pair list."""

    input: str
    folder: str
    model: str
    device: str
    frames: int
    source_size: tuple[int, int]
    working_size: tuple[int, int]
    pairs: int
    batch_size: int
    memory_bytes: int
    disk_bytes: int
    prior: str
    """The depth prior; `none`, or a folder whose maps cost nothing."""
    seconds: float
    """Measured on one pair, and on one frame of the prior, of this size here, times their numbers; a tenth of a second
    a frame is added."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for people."""
        h, w = self.working_size
        return (
            f"{self.input} -> {self.folder}\n"
            f"  {self.frames} frames, {self.source_size[1]}x{self.source_size[0]} worked on at {w}x{h}\n"
            f"  {self.pairs} pairs with {self.model} on {self.device}, {self.batch_size} at a time\n"
            f"  depth prior: {self.prior}\n"
            f"  about {self.seconds:.0f} s, {self.memory_bytes / 2**30:.1f} GiB memory, "
            f"{self.disk_bytes / 2**30:.2f} GiB disk"
        )


class _Noise:
    """Frames of noise, to time a predictor."""

    def __init__(self, size: tuple[int, int]):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 255, (2, *size, 3), np.uint8)

    def __len__(self) -> int:
        return 2

    def read(self, indices) -> np.ndarray:
        return self.images[list(indices)]


def plan_target(target: RunTarget, options: ClipSettings, info: PredictorInfo) -> ClipPlan:
    """Frames and working size of one run, for what the predictor wants.

    Raises:
        DpmError: see `plan_clip`.
    """
    return plan_clip(
        list(target.inputs),
        long_side=options.size or info.default_long_side,
        multiple=info.multiple,
        start=options.start,
        end=options.end,
        fps=options.fps,
        stride=options.stride,
        max_frames=options.max_frames,
        crop=options.crop,
    )


def plan_runs(targets: list[RunTarget], settings: ReconstructSettings) -> list[Plan]:
    """Plans of all targets; the predictor is loaded once."""
    machine = load_machine(settings, SilentReporter())
    return [_plan(target, settings, machine) for target in targets]


def _plan(target: RunTarget, settings: ReconstructSettings, machine: Machine) -> Plan:
    predictor, device, dtype = machine.predictor, machine.device, machine.dtype
    info = predictor.info
    planned = plan_target(target, settings.clip, info)
    task = task_of(planned, settings, predictor, {})
    memory = plan_memory(settings.max_memory, device, info, task)
    pairs = most_passes(len(planned), settings.pairs, memory.window)
    prior, prior_seconds = _prior_cost(settings, planned.size, device, dtype)
    return Plan(
        input=", ".join(target.inputs[:3]) + (" ..." if len(target.inputs) > 3 else ""),
        folder=str(target.folder),
        model=info.name,
        device=str(device),
        frames=len(planned),
        source_size=planned.source_size,
        working_size=planned.size,
        pairs=pairs,
        batch_size=memory.batch_size,
        memory_bytes=memory.total_bytes,
        disk_bytes=disk_bytes(planned, settings),
        prior=prior,
        seconds=pairs * _seconds_a_pair(predictor, planned.size, device, dtype)
        + (0.1 + prior_seconds) * len(planned),
    )


def disk_bytes(plan: ClipPlan, settings: ReconstructSettings) -> int:
    """Bytes that the run of `plan` takes at its fullest."""
    pairs = most_passes(len(plan), settings.pairs)
    pixels = plan.size[0] * plan.size[1]
    source_pixels = plan.source_size[0] * plan.source_size[1]
    return run_bytes(len(plan), pixels, source_pixels, pairs, settings.formats)


def _prior_cost(
    settings: ReconstructSettings, size: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> tuple[str, float]:
    """Name of the depth prior and seconds that one frame takes, measured on noise."""
    if Path(settings.prior).is_dir():
        return settings.prior, 0.0
    clip = _noise_clip(size)
    source = load_prior(settings.prior, settings.prior_kind, clip, device, dtype)
    if source is None:
        return "none", 0.0
    start = time.perf_counter()
    source.estimate(0, clip.frames.read([0])[0])
    return source.info.name, time.perf_counter() - start


def _seconds_a_pair(
    predictor: Predictor, size: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> float:
    clip = _noise_clip(size)
    predictor.prepare(
        clip, np.array([[size[1], 0, size[1] / 2], [0, size[1], size[0] / 2], [0, 0, 1.0]])
    )
    pair = np.array([[0, 1]])
    start = time.perf_counter()
    list(predict_pairs(clip.frames, pair, predictor, device=device, dtype=dtype, batch_size=1))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _noise_clip(size: tuple[int, int]) -> Clip:
    return Clip(
        name="probe",
        frames=_Noise(size),
        size=size,
        source_size=size,
        source_from_working=np.eye(3),
        frame_index=np.arange(2),
        timestamps=np.arange(2) / 25,
        source="",
        fingerprint="",
    )

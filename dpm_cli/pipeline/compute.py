"""From a planned clip to fused frames on disk, and what the manifest says of them."""

import shutil
from dataclasses import replace

import numpy as np

from dpm_cli.clip_store import ClipPlan
from dpm_cli.config import ReconstructSettings
from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.given import given_focal
from dpm_cli.pipeline.align_run import AlignedRun
from dpm_cli.pipeline.aligned_clip import aligned_clip
from dpm_cli.pipeline.frames import frame_cameras, fuse_run
from dpm_cli.pipeline.job import Job
from dpm_cli.pipeline.machine import Machine
from dpm_cli.pipeline.manifest import clip_manifest
from dpm_cli.pipeline.pass_work import Spread
from dpm_cli.pipeline.stopwatch import Stopwatch
from dpm_cli.predictors.protocol import MeasuresFlow, Predictor
from dpm_cli.progress import Reporter
from dpm_cli.ram import give_back_ram
from dpm_cli.sequence import RunWriter
from dpm_cli.structures import Cameras


def compute(
    plan: ClipPlan,
    settings: ReconstructSettings,
    machine: Machine,
    writer: RunWriter,
    watch: Stopwatch,
    reporter: Reporter,
    spread: Spread | None = None,
) -> None:
    """Everything up to the frames; `spread` gives other processes a part of it."""
    job = Job(plan, settings, machine, writer, watch, reporter, spread)
    found = aligned_clip(job)
    clip, pictures, aligned, K = found.clip, found.pictures, found.aligned, found.intrinsics
    with watch.time("fuse"):
        name = machine.predictor.info.name
        work = job.work / "motion"
        status = found.scale["status"] if found.scale else "arbitrary"
        give_back_ram()
        fuse_run(
            *(clip, pictures, aligned, K, found.masks, found.witness, job.memory.workers),
            *(name, status, work, writer, reporter),
        )
    cameras, shot = frame_cameras(clip, pictures, aligned, K)
    focal = _focal(cameras, aligned, K)
    writer.write_manifest(
        {
            **clip_manifest(clip, pictures, shot),
            "focal_px": focal.focal_px,
            "focal": focal.to_json(clip.size[1]),
            "cameras_registered": int(cameras.registered.sum()),
            "notes": [*job.memory_notes(), *found.notes],
            "flow": _flow_source(settings, machine.predictor),
            **({"scale": found.scale} if found.scale else {}),
            "timings_s": dict(watch.seconds),
        }
    )
    writer.stage_done("frames")
    shutil.rmtree(job.work)


def _focal(cameras: Cameras, aligned: AlignedRun | None, K: np.ndarray | None) -> FocalEstimate:
    """What is known of the focal length in the end, as the cameras have it."""
    focal_px = float(np.median(cameras.intrinsics[:, 0, 0]))
    if aligned is not None:
        return replace(aligned.focal, focal_px=focal_px)
    return FocalEstimate(focal_px, 1.0, "assumed") if K is None else given_focal(K)


def _flow_source(settings: ReconstructSettings, predictor: Predictor) -> str:
    """Where the optical flow of a run comes from: `given`, `measured`, or `predicted` by the model's point maps."""
    if settings.flow_dir:
        return "given"
    return "measured" if isinstance(predictor, MeasuresFlow) else "predicted"

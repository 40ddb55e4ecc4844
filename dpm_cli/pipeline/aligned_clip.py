"""From a planned clip to passes that agree: decode, find pictures, pair, predict, align, hear the prior.

What an interrupted run has finished is kept: every stage finds its own files again.
"""

import shutil
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dpm_cli.clip_store import ClipPlan
from dpm_cli.clip_store.clip import decode_clip
from dpm_cli.errors import MemoryExhaustedError
from dpm_cli.focal import FocalEstimate
from dpm_cli.focal.given import doubts, given_intrinsics
from dpm_cli.geometry.camera import intrinsics_matrix
from dpm_cli.passes.loops import find_loops, with_loops
from dpm_cli.passes.pictures import Pictures, find_pictures
from dpm_cli.passes.run import PairGraph, PassGraph, pass_graph
from dpm_cli.passes.shots import detect_shots
from dpm_cli.passes.store import PassStore
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.pipeline.align_run import AlignedRun, align_run
from dpm_cli.pipeline.brought import check_flow, user_flow, user_masks
from dpm_cli.pipeline.job import Job
from dpm_cli.pipeline.pass_work import PassWork
from dpm_cli.pipeline.prior_run import ClipPrior, ask_prior, hear_prior
from dpm_cli.pipeline.prior_told import hears, heeded, tell, was_told
from dpm_cli.predictors.protocol import MeasuresFlow
from dpm_cli.prior.focal import with_prior
from dpm_cli.prior.witness import Witness
from dpm_cli.ram import give_back_ram
from dpm_cli.structures import Clip


@dataclass(frozen=True, eq=False)
class AlignedClip:
    """A clip whose pictures are seen by passes that agree."""

    clip: Clip
    pictures: Pictures
    intrinsics: np.ndarray | None
    """(3, 3) where the user gave them."""
    masks: UserMasks | None
    aligned: AlignedRun | None
    """None where no frame is a picture."""
    witness: Witness | None
    """The prior, where it is believed."""
    scale: dict[str, Any] | None
    """Of the manifest, where the prior made the run metric."""
    notes: list[str]


def aligned_clip(job: Job) -> AlignedClip:
    """Decode, find pictures, pair, predict, align."""
    settings, watch, reporter = job.settings, job.watch, job.reporter
    # First the manifest: a folder that has anything else is nobody's run when the disk is full here.
    job.writer.write_manifest()
    job.work.mkdir(parents=True, exist_ok=True)
    with watch.time("decode"):
        clip = decode_clip(job.plan, job.work / "images", reporter)
    K = given_intrinsics(clip, settings.fov_deg, settings.intrinsics, settings.intrinsics_size)
    odd = [] if K is None else job.say(doubts(K, clip))
    masks = user_masks(clip, settings)
    check_flow(clip, settings, job.machine.predictor)
    with watch.time("pictures"):
        pictures = find_pictures(clip.frames, reporter)
    notes = [*job.plan.notes, *_lost(job.plan, clip), *odd, *job.say(pictures.notes())]
    prior = job.attempt(lambda: _ask_prior(clip, pictures, job))
    aligned, witness, scale = None, None, None
    if len(pictures):
        found = _align(clip, pictures, K, masks, prior, job)
        aligned, witness, scale = found.aligned, found.witness, found.scale
        notes += found.notes
    else:
        notes += job.say(["no frame of the clip shows a picture: nothing can be reconstructed"])
    return AlignedClip(clip, pictures, K, masks, aligned, witness, scale, notes)


@dataclass(frozen=True, eq=False)
class _Found:
    """What the passes of the pictures say together, after the prior was heard."""

    aligned: AlignedRun
    witness: Witness | None
    """The prior, where it is believed."""
    scale: dict[str, Any] | None
    """Of the manifest, where the prior made the run metric."""
    notes: list[str]


def _align(
    whole: Clip,
    pictures: Pictures,
    K: np.ndarray | None,
    masks: UserMasks | None,
    prior: ClipPrior | None,
    job: Job,
) -> _Found:
    """Predict and align the pictures of the whole clip."""
    settings, clip = job.settings, pictures.clip(whole)
    with job.watch.time("cuts"):
        shot = detect_shots(clip.frames, job.reporter)
    cuts = []
    if shot[-1]:
        starts = ", ".join(map(str, pictures.shown[np.flatnonzero(np.diff(shot)) + 1]))
        cuts = job.say([f"{shot[-1] + 1} shots: frames {starts} start new ones"])
    graph, closed = _graph(clip, shot, job)
    masks = None if masks is None else masks.take(pictures.shown)
    while True:
        passes = job.attempt(lambda: _predict(clip, shot, graph, K, masks, prior, job))
        store, told_focal, said = passes.store, passes.told_focal, [*cuts, *closed, *passes.said]
        give_back_ram()
        with job.watch.time("align"):
            aligned = align_run(clip, store, K, told_focal, settings, passes.reach, job.reporter)
        if prior is None:
            return _Found(aligned, None, None, [*said, *aligned.notes])
        with job.watch.time("prior"):
            told = hears(job)
            heard = hear_prior(clip, aligned, store, prior, settings, job.reporter, told=told)
        believed = heard.witness.trust > 0
        if believed or not was_told(told_focal, store, job):
            witness, scale = (heard.witness, heard.scale) if believed else (None, None)
            notes = [*said, *heard.aligned.notes, *heard.notes]
            return _Found(heard.aligned, witness, scale, notes)
        # What a prior that turned out to be wrong has told is in the passes: all are predicted once more without it.
        job.writer.write_manifest({"prior": {**job.writer.manifest["prior"], "refused": True}})
        shutil.rmtree(job.work / "passes")


@dataclass(frozen=True, eq=False)
class _Predicted:
    """All passes of the clip."""

    store: PassStore
    told_focal: FocalEstimate | None
    """The focal length that they were made with, if it had to be found."""
    reach: int | None
    """See `PairGraph`."""
    said: list[str]


def _graph(clip: Clip, shot: np.ndarray, job: Job) -> tuple[PassGraph, list[str]]:
    """The pairs, with those that close loops, and what was said of them."""
    graph = pass_graph(shot, job.settings.pairs, job.memory.window)
    if job.settings.pairs != "auto" or not isinstance(graph, PairGraph):
        return graph, []
    with job.watch.time("loops"):
        loops = find_loops(clip.frames, shot, job.reporter)
    if not len(loops):
        return graph, []
    reach = int(np.diff(graph.pairs, axis=1).max())
    job.writer.write_manifest({"loops": clip.frame_index[loops].tolist()})
    i, j = clip.frame_index[loops[0]]
    note = f"the camera comes back: {len(loops)} pairs of far frames, such as {i} and {j}, close the loops"
    return PairGraph(with_loops(graph.pairs, loops), reach), job.say([note])


def _predict(
    clip: Clip,
    shot: np.ndarray,
    graph: PassGraph,
    K: np.ndarray | None,
    masks: UserMasks | None,
    prior: ClipPrior | None,
    job: Job,
) -> _Predicted:
    """Every pass, of smaller windows where memory ends."""
    while True:
        try:
            return _predict_graph(clip, graph, K, masks, prior, job)
        except MemoryExhaustedError:
            if not job.halve_window():
                raise
        graph = pass_graph(shot, job.settings.pairs, job.memory.window)


def _predict_graph(
    clip: Clip,
    graph: PassGraph,
    K: np.ndarray | None,
    masks: UserMasks | None,
    prior: ClipPrior | None,
    job: Job,
) -> _Predicted:
    memory = job.memory
    frozen = {"pairs": len(graph.pairs), "batch_size": memory.batch_size}
    job.writer.write_manifest(frozen | ({"window": memory.window} if memory.window else {}))
    job.reporter.detail(f"{len(clip)} frames, {len(graph.pairs)} pairs, on {job.machine.device}")
    told_focal = _prepare(clip, K, prior, job)
    tell(prior, job)
    told = told_focal.note(clip.size[1]) if told_focal else None
    said = job.say([told] if told else [])
    found = K
    if told_focal is not None:
        focal_px = torch.tensor(told_focal.focal_px, dtype=torch.float64)
        found = intrinsics_matrix(focal_px, *clip.size).numpy()
    work = PassWork(
        clip=clip,
        graph=graph,
        intrinsics=K,
        told=found,
        prior=prior.store if prior and heeded(job) else None,
        masks=masks,
        folder=job.work / "passes",
        batch_size=memory.batch_size,
        features_bytes=memory.features_bytes,
        settings=job.settings,
    )
    with job.watch.time("predict"):
        store = job.make_passes(work)
    return _Predicted(store, told_focal, graph.reach, said)


def _ask_prior(clip: Clip, pictures: Pictures, job: Job) -> ClipPrior | None:
    """The depth prior of the pictures; which prior it is stays as an interrupted run has chosen it."""
    known = job.writer.manifest.get("prior", {"name": job.settings.prior})
    with job.watch.time("prior"):
        prior = ask_prior(
            clip,
            known["name"],
            job.settings.prior_kind,
            device=job.machine.device,
            dtype=job.machine.dtype,
            folder=job.work / "prior",
            reporter=job.reporter,
        )
    said = prior.info.to_json() if prior else {"name": "none"}
    job.writer.write_manifest({"prior": {**known, **said}})
    return replace(prior, store=prior.store.take(pictures.shown)) if prior else None


def _prepare(
    clip: Clip, K: np.ndarray | None, prior: ClipPrior | None, job: Job
) -> FocalEstimate | None:
    """Let the predictor see the clip; returns the focal length that was found, if it had to be."""
    predictor = job.machine.predictor
    if isinstance(predictor, MeasuresFlow):
        predictor.matcher.given = user_flow(clip, job.settings)
    with job.watch.time("prepare"):
        found = predictor.prepare(clip, K)
        if found and prior and heeded(job) and not job.settings.per_frame_focal:
            better = with_prior(found, prior.store, len(clip), prior.info.said)
            if better is not None:
                focal_px = torch.tensor(better.focal_px, dtype=torch.float64)
                predictor.prepare(clip, intrinsics_matrix(focal_px, *clip.size).numpy())
                found = better
    return found


def _lost(plan: ClipPlan, clip: Clip) -> list[str]:
    missing = len(plan) - len(clip)
    return [f"{missing} of {len(plan)} frames could not be decoded"] if missing else []

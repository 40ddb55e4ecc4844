"""Write every frame, with the clip's word on its depth and motion."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dpm_cli.ahead import in_order
from dpm_cli.geometry.camera import intrinsics_matrix, square_in_source
from dpm_cli.passes.fusion import fuse_frame
from dpm_cli.passes.pictures import Pictures
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.pipeline.align_run import AlignedRun
from dpm_cli.pipeline.motion_run import ClipMotion
from dpm_cli.prior.witness import Witness
from dpm_cli.progress import Reporter
from dpm_cli.sequence import FrameResult, RunWriter, SequenceHeader
from dpm_cli.structures import Cameras, Clip


def fuse_run(
    clip: Clip,
    pictures: Pictures,
    aligned: AlignedRun | None,
    intrinsics: np.ndarray | None,
    masks: UserMasks | None,
    prior: Witness | None,
    workers: int,
    model: str,
    scale: str,
    work: Path,
    writer: RunWriter,
    reporter: Reporter,
) -> None:
    """Write `cameras.npz` and all frames.

    Args:
        clip: all T frames.
        pictures: which of them are pictures.
        aligned: the passes of the P pictures; None where there is no picture.
        intrinsics: (3, 3) where the user gave them.
        masks: the user's, of all frames.
        prior: another witness of depth.
        workers: frames that are fused at the same time.
        model: name of the predictor.
        scale: what the header says, arbitrary or metric.
        work: folder for what later steps need of every frame.
        writer: of the run folder; frames that it has are not written again.
        reporter: progress.
    """
    cameras, shot = frame_cameras(clip, pictures, aligned, intrinsics)
    writer.write_cameras(SequenceHeader.of_clip(clip, cameras, scale=scale, model=model, shot=shot))
    motion = None
    if aligned is not None:
        shown = None if masks is None else masks.take(pictures.shown)
        motion = ClipMotion(aligned.passes, pictures.clip(clip).frames, work, shown, prior, workers)
        motion.prepare(reporter)
    with reporter.task("frames", len(clip)) as advance:
        kept = {t for t in range(len(clip)) if writer.has_frame(t)}
        advance(len(kept))
        for t, frame in _frames(clip, pictures, aligned, motion, kept):
            writer.write_frame(t, frame)
            advance()


def frame_cameras(
    clip: Clip, pictures: Pictures, aligned: AlignedRun | None, intrinsics: np.ndarray | None
) -> tuple[Cameras, np.ndarray]:
    """Cameras of all T frames and the shot (T,) of each; a focal length that was found is one in the source."""
    if aligned is not None:
        cameras = pictures.cameras(aligned.passes.cameras, aligned.shot)
        shot = pictures.per_frame(aligned.shot)
    else:
        guess = intrinsics_matrix(torch.tensor(float(max(clip.size))).double(), *clip.size).numpy()
        K = np.tile(guess if intrinsics is None else intrinsics, (len(clip), 1, 1))
        poses = np.tile(np.eye(4), (len(clip), 1, 1))
        cameras = Cameras(poses, K, np.zeros(len(clip), bool))
        shot = np.zeros(len(clip), np.int64)
    if intrinsics is not None:
        return cameras, shot
    found, affine = (torch.from_numpy(m) for m in (cameras.intrinsics, clip.source_from_working))
    squared = square_in_source(found, affine, clip.pixel_aspect).numpy()
    return replace(cameras, intrinsics=squared), shot


def _frames(
    clip: Clip,
    pictures: Pictures,
    aligned: AlignedRun | None,
    motion: ClipMotion | None,
    kept: set[int],
) -> Iterator[tuple[int, FrameResult]]:
    """Every frame of the clip but those `kept`; a picture is fused once, however often it is repeated."""
    wanted = [t for t in range(len(clip)) if t not in kept]
    if aligned is None or motion is None:
        for t in wanted:
            yield t, _in_clip(_empty(clip.frames.read([t])[0]), t, pictures)
        return

    def fuse(number: int) -> FrameResult:
        depth, dynamic = motion.frame(number)
        image = clip.frames.read([int(pictures.shown[number])])[0]
        return fuse_frame(number, image, depth, dynamic, aligned.passes)

    numbers = sorted({int(n) for n in pictures.of_frame[wanted] if n >= 0})
    fused = in_order(fuse, numbers, motion.workers)
    latest, last = -1, None
    for t in wanted:
        number = int(pictures.of_frame[t])
        if number > latest:
            latest, last = number, next(fused)
        frame = last if number >= 0 else None
        yield t, _in_clip(frame or _empty(clip.frames.read([t])[0]), t, pictures)


def _empty(image: np.ndarray) -> FrameResult:
    """A frame of which nothing is known."""
    size = image.shape[:2]
    return FrameResult(
        image=image,
        depth=np.ones(size, np.float32),
        confidence=np.zeros(size, np.float32),
        valid=np.zeros(size, bool),
        dynamic=np.zeros(size, np.float32),
    )


def _in_clip(frame: FrameResult, t: int, pictures: Pictures) -> FrameResult:
    """A fused picture with its motion to the frames of the clip before and after it, not to pictures.

    To a repetition nothing moves; to a frame without a picture nothing is known.
    """
    size, own = frame.depth.shape, pictures.of_frame[t]
    motion = {}
    for name, other in (("fwd", t + 1), ("bwd", t - 1)):
        keys = (f"scene_flow_{name}", f"flow_{name}", f"flow_{name}_valid")
        if not 0 <= other < len(pictures.of_frame):
            motion.update(dict.fromkeys(keys))
            continue
        shown = pictures.of_frame[other]
        if shown >= 0 and own >= 0 and shown != own:
            continue
        same = shown == own and own >= 0
        still = (np.zeros((*size, 3), np.float32), np.zeros((*size, 2), np.float32))
        motion.update(zip(keys, (*still, np.full(size, same)), strict=True))
    return replace(frame, **motion)

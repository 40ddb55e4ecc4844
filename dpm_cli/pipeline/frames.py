"""Write every frame, with the clip's word on its depth and motion."""

from pathlib import Path

from dpm_cli.passes.fusion import fuse_frame
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.pipeline.align_run import AlignedRun
from dpm_cli.pipeline.motion_run import ClipMotion
from dpm_cli.progress import Reporter
from dpm_cli.sequence import RunWriter, SequenceHeader
from dpm_cli.structures import Clip


def fuse_run(
    clip: Clip,
    aligned: AlignedRun,
    masks: UserMasks | None,
    model: str,
    work: Path,
    writer: RunWriter,
    reporter: Reporter,
) -> None:
    """Write `cameras.npz` and all frames; `work` is a folder for what later steps need of every frame."""
    cameras, shot = aligned.passes.cameras, aligned.shot
    writer.write_cameras(
        SequenceHeader.of_clip(clip, cameras, scale="arbitrary", model=model, shot=shot)
    )
    motion = ClipMotion(aligned.passes, clip.frames, work, masks)
    motion.prepare(reporter)
    with reporter.task("frames", len(clip)) as advance:
        for t in range(len(clip)):
            depth, dynamic = motion.frame(t)
            image = clip.frames.read([t])[0]
            writer.write_frame(t, fuse_frame(t, image, depth, dynamic, aligned.passes))
            advance()

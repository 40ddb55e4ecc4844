"""Fuse every frame and write it; what is written already is kept."""

from pathlib import Path

import numpy as np

from dpm_cli.passes.fusion import flow_residual_px, fuse_frame
from dpm_cli.pipeline.align_run import AlignedRun
from dpm_cli.pipeline.motion_run import ClipMotion
from dpm_cli.pipeline.user_masks import UserMasks
from dpm_cli.progress import Reporter
from dpm_cli.sequence import RunWriter, SequenceHeader
from dpm_cli.structures import MOTION_THRESHOLD, Clip


def fuse_run(
    clip: Clip,
    aligned: AlignedRun,
    masks: UserMasks | None,
    model: str,
    work: Path,
    writer: RunWriter,
    reporter: Reporter,
) -> dict[str, float]:
    """Write `cameras.npz` and all frames; returns what the manifest says of their quality.

    `work` is a folder for what later steps need of every frame. The user's masks replace the motion score.
    """
    cameras, shot = aligned.passes.cameras, aligned.shot
    writer.write_cameras(
        SequenceHeader.of_clip(clip, cameras, scale="arbitrary", model=model, shot=shot)
    )
    motion = ClipMotion(aligned.passes, work)
    motion.prepare(clip.frames, reporter)
    residuals, confident, moving = [], [], []
    with reporter.task("frames", len(clip)) as advance:
        for t in range(len(clip)):
            image = clip.frames.read([t])[0]
            dynamic = (masks.read(t) if masks else motion.score(t, image)).astype(np.float32)
            depth = motion.depth(t, image, dynamic)
            frame = fuse_frame(t, image, depth, dynamic, aligned.passes)
            writer.write_frame(t, frame)
            confident.append(
                float(np.median(frame.confidence[frame.valid])) if frame.valid.any() else 0.0
            )
            moving.append(float((frame.dynamic > MOTION_THRESHOLD).mean()))
            if t + 1 < len(clip) and shot[t + 1] == shot[t]:
                points = frame.points(cameras.cam2world[t], cameras.intrinsics[t])
                residuals.append(
                    flow_residual_px(
                        frame, cameras.cam2world[t + 1], cameras.intrinsics[t + 1], points
                    )
                )
            advance()
    return {
        "flow_residual_px": float(np.median(residuals)) if residuals else 0.0,
        "median_confidence": float(np.median(confident)),
        "moving_share": float(np.mean(moving)),
    }

"""Fuse every frame and write it."""

import numpy as np

from dpm_cli.passes.fusion import flow_residual_px, fuse_frame
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.pipeline.align_run import AlignedRun
from dpm_cli.prior.witness import Witness
from dpm_cli.progress import Reporter
from dpm_cli.sequence import RunWriter, SequenceHeader
from dpm_cli.structures import Clip


def fuse_run(
    clip: Clip,
    aligned: AlignedRun,
    masks: UserMasks | None,
    prior: Witness | None,
    model: str,
    scale: str,
    writer: RunWriter,
    reporter: Reporter,
) -> dict[str, float]:
    """Write `cameras.npz` and all frames; returns what the manifest says of their quality.

    `prior` is another witness of depth, `scale` what the header says: arbitrary or metric.
    """
    cameras, shot = aligned.passes.cameras, aligned.shot
    writer.write_cameras(SequenceHeader.of_clip(clip, cameras, scale=scale, model=model, shot=shot))
    residuals, confident, moving = [], [], []
    with reporter.task("frames", len(clip)) as advance:
        for t in range(len(clip)):
            mask = masks.read(t) if masks else None
            image = clip.frames.read([t])[0]
            frame = fuse_frame(
                t, image, aligned.passes, mask, prior.frame(t) if prior is not None else None
            )
            writer.write_frame(t, frame)
            confident.append(
                float(np.median(frame.confidence[frame.valid])) if frame.valid.any() else 0.0
            )
            moving.append(float((frame.dynamic > 0.5).mean()))
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

"""What the user has brought beside the video: masks and flow. Both are looked for before anything is decoded."""

from pathlib import Path

from dpm_cli.clip_store import ClipPlan, planned_clip
from dpm_cli.config import ReconstructSettings
from dpm_cli.errors import UsageError
from dpm_cli.matching.user_flow import UserFlow
from dpm_cli.passes.user_masks import UserMasks
from dpm_cli.predictors.protocol import MeasuresFlow, Predictor
from dpm_cli.structures import Clip
from dpm_cli.video.bars import shown_area


def check_brought(plan: ClipPlan, settings: ReconstructSettings, predictor: Predictor) -> None:
    """Look for everything that the frames of a plan will need.

    Raises:
        UsageError: the predictor takes no flow.
        InputError: something is missing, or of another size.
    """
    clip = planned_clip(plan)
    user_masks(clip, settings)
    check_flow(clip, settings, predictor)


def check_flow(clip: Clip, settings: ReconstructSettings, predictor: Predictor) -> None:
    """The same for flow alone."""
    if (flow := user_flow(clip, settings)) is None:
        return
    if not isinstance(predictor, MeasuresFlow):
        raise UsageError(
            f"--flow-dir: {predictor.info.name} measures no flow; choose --model dpm-mini or geometric"
        )
    flow.check()


def user_masks(clip: Clip, settings: ReconstructSettings) -> UserMasks | None:
    """The masks of a clip, None where the user gave none.

    Raises:
        InputError: see `UserMasks.find`.
    """
    if not settings.mask_dir:
        return None
    return UserMasks.find(Path(settings.mask_dir), clip)


def user_flow(clip: Clip, settings: ReconstructSettings) -> UserFlow | None:
    """The flow of a clip, None where the user gave none."""
    if not settings.flow_dir:
        return None
    area = shown_area(clip.source_from_working, clip.size)
    frames = tuple(clip.frame_index.tolist())
    return UserFlow(Path(settings.flow_dir), frames, clip.source_size, area)

"""Every knob of a run, once: the command line fills these, the manifest stores them, resuming compares them."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from dpm_cli.errors import UsageError

RUN_FORMATS = ("ply", "flo", "masks", "preview")
PriorKind = Literal["depth", "inverse", "metric"]


@dataclass(frozen=True)
class ClipSettings:
    """Which frames of the input are used, and at what size."""

    size: int | None = None
    """Long side of the working images in pixels; None = the predictor's default."""
    fps: float | None = None
    """Frames per second to keep; excludes `stride`."""
    stride: int = 1
    """Keep every n-th frame."""
    start: float | None = None
    """First time in seconds."""
    end: float | None = None
    """Last time in seconds."""
    max_frames: int | None = None
    """At most this many frames."""


@dataclass(frozen=True)
class ReconstructSettings:
    """What decides the numbers of a run; two runs with equal settings and input are the same run."""

    model: str = "auto"
    weights: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    """Pairs at a time; None = chosen from the free memory, then frozen in the manifest."""
    clip: ClipSettings = ClipSettings()
    pairs: str = "auto"
    """`auto`, `complete`, strides such as `1,2,4,8`, or `window:N` for a predictor that sees N frames at once."""
    fov_deg: float | None = None
    """Horizontal field of view of the source in degrees."""
    intrinsics: str | None = None
    """`fx,fy,cx,cy` in source pixels, or a file that holds them."""
    per_frame_focal: bool = False
    mask_dir: str | None = None
    """Folder of masks of moving things, one per frame in natural order, non-zero = moves."""
    prior: str = "auto"
    """Depth prior: `auto`, `none`, a row of `dpm models list`, or a folder with one map a frame."""
    prior_kind: PriorKind = "depth"
    """What the maps of a folder hold: z up to scale, its inverse up to scale and shift, or metres."""
    formats: tuple[str, ...] = RUN_FORMATS
    min_confidence: float = 2.0
    """Points below this are left out of point clouds and previews; 2 = expected relative error of a half."""
    motion_threshold: float = 0.5

    def digest(self) -> str:
        """Hash of the settings that change numbers (not of what is written from them)."""
        values = dataclasses.asdict(self)
        for name in ("formats", "min_confidence", "motion_threshold"):
            values.pop(name)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class RunTarget:
    """One run: its inputs and its folder."""

    inputs: tuple[str, ...]
    folder: Path


def parse_prior_kind(text: str) -> PriorKind:
    """`depth`, `inverse` or `metric`."""
    if text not in get_args(PriorKind):
        raise UsageError(f"--prior-kind {text}: choose from {', '.join(get_args(PriorKind))}")
    return cast(PriorKind, text)


def parse_batch_size(text: str) -> int | None:
    """`auto` or a positive number."""
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch-size {text}: give auto or a positive number")
    return int(text)


def parse_formats(text: str) -> tuple[str, ...]:
    """Comma-separated names of RUN_FORMATS, or `none`."""
    names = () if text == "none" else tuple(n.strip() for n in text.split(",") if n.strip())
    unknown = [n for n in names if n not in RUN_FORMATS]
    if unknown:
        raise UsageError(
            f"--format {unknown[0]}: choose from {', '.join(RUN_FORMATS)}, or none; dpm export writes others"
        )
    return names

"""Every knob of a run and of an export, once: the command line fills these, the manifest stores those of a run.

The words under a field are the help of its option; its default is the option's (`cli/options.py` makes it).
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from dpm_cli.errors import UsageError
from dpm_cli.knobs import knob
from dpm_cli.outputs import RUN_FORMATS
from dpm_cli.progress import Reporter, SilentReporter

PriorKind = Literal["depth", "inverse", "metric"]
PlyProfile = Literal["plain", "3dgs", "4dgs"]
ENVIRONMENT = ("model", "weights", "device", "dtype", "prior", "max_memory")
"""Settings that an environment variable may give: DPM_MODEL and so on."""
NOT_OF_NUMBERS = ("formats", "min_confidence", "motion_threshold")
"""Settings of what is written from the numbers of a run, and not of the numbers."""
MOTION_THRESHOLD = 0.5
"""Motion score above which a pixel moves by itself, unless the user says otherwise."""


def parse_prior_kind(text: str) -> PriorKind:
    """`depth`, `inverse` or `metric`."""
    if text not in get_args(PriorKind):
        raise UsageError(f"--prior-kind {text}: choose from {', '.join(get_args(PriorKind))}")
    return cast(PriorKind, text)


def parse_profile(text: str) -> PlyProfile:
    """`plain`, `3dgs` or `4dgs`."""
    if text not in get_args(PlyProfile):
        raise UsageError(f"--profile {text}: choose from {', '.join(get_args(PlyProfile))}")
    return cast(PlyProfile, text)


def parse_batch_size(text: str) -> int | None:
    """`auto` or a positive number."""
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"--batch-size {text}: give auto or a positive number")
    return int(text)


def parse_memory(text: str) -> int | None:
    """Bytes, from `auto` or a number with or without K, M, G or T (of 1024)."""
    if text == "auto":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    most = int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " ")) if found else 0
    if not most:
        raise UsageError(f"--max-memory {text}: give auto, or bytes such as 800M or 4G")
    return most


def parse_size(text: str) -> tuple[int, int]:
    """Two positive whole numbers `W,H`."""
    parts = text.lower().replace("x", ",").split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise UsageError(f"--intrinsics-size {text}: give width and height in pixels, W,H")
    return int(parts[0]), int(parts[1])


def parse_formats(text: str) -> tuple[str, ...]:
    """Comma-separated names of RUN_FORMATS, or `none`."""
    names = () if text == "none" else tuple(n.strip() for n in text.split(",") if n.strip())
    unknown = [n for n in names if n not in RUN_FORMATS]
    if unknown:
        raise UsageError(
            f"--format {unknown[0]}: choose from {', '.join(RUN_FORMATS)}, or none; dpm export writes others"
        )
    return names


@dataclass(frozen=True)
class ClipSettings:
    """Which frames of the input are used, and at what size."""

    size: int | None = knob(None, least=32)
    """Long side of the working images, pixels. Default: the predictor's."""
    fps: float | None = None
    """Frames per second to keep; not together with a stride."""
    stride: int = knob(1, least=1)
    """Keep every n-th frame."""
    start: float | None = None
    """First second."""
    end: float | None = None
    """Last second."""
    max_frames: int | None = knob(None, least=1)
    """At most this many frames."""
    crop: str = "auto"
    """auto leaves bars out, none keeps all, x,y,w,h (source pixels) is the picture."""


@dataclass(frozen=True)
class ReconstructSettings:
    """What decides the numbers of a run; two runs with equal settings and input are the same run."""

    model: str = "auto"
    """auto (the best that needs no download), {predictors}."""
    weights: str | None = None
    """Weights file for the model."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16."""
    batch_size: int | None = knob(None, reads=parse_batch_size, shown="auto")
    """Pairs at a time, or auto: by the free memory, then kept for the whole run."""
    max_memory: int | None = knob(None, reads=parse_memory, shown="auto")
    """RAM (decoders aside), and memory of the GPU, that a run may take, such as 4G; auto takes what is free."""
    clip: ClipSettings = ClipSettings()
    pairs: str = "auto"
    """auto, complete, strides such as 1,2,4,8, or window:N where a model sees N frames at once (window: by memory)."""
    fov_deg: float | None = knob(None, option="--fov")
    """Horizontal field of view of the picture (without bars), degrees."""
    intrinsics: str | None = None
    """fx,fy,cx,cy in source pixels, or a file with them."""
    intrinsics_size: tuple[int, int] | None = knob(None, reads=parse_size)
    """W,H of the pictures that the intrinsics are for, if others than the source."""
    per_frame_focal: bool = False
    """The lens zooms during the clip."""
    mask_dir: str | None = None
    """Folder of your masks of moving things, one a frame in natural order, non-zero = moves."""
    flow_dir: str | None = None
    """Folder of your own optical flow, fwd_000000_000001 and bwd_000001_000000 (.flo, KITTI .png, .npz)."""
    prior: str = "auto"
    """Depth prior: auto, none, moge-2-small (-base, -large), or a folder with a depth map a frame."""
    prior_kind: PriorKind = knob("depth", reads=parse_prior_kind, shown="depth")
    """What the maps of a folder hold: depth (z up to scale), inverse (of it, up to scale and shift), or metric."""
    formats: tuple[str, ...] = knob(
        RUN_FORMATS, reads=parse_formats, shown=",".join(RUN_FORMATS), option="--format"
    )
    """What to write, separated by commas, or none."""
    min_confidence: float = knob(2.0, least=0)
    """Leave less certain points out of point clouds; 2 = expected relative error of a half."""
    motion_threshold: float = knob(MOTION_THRESHOLD, least=0, most=1)
    """Motion score above which a pixel moves: in masks, clouds, tracks, scene flow and the manifest."""

    def digest(self) -> str:
        """Hash of the settings that change numbers (not of what is written from them)."""
        values = dataclasses.asdict(self)
        for name in (*NOT_OF_NUMBERS, "max_memory"):
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


@dataclass(frozen=True)
class ExportOptions:
    """What an exporter may be told; each takes what concerns it."""

    profile: PlyProfile = knob("plain", reads=parse_profile, shown="plain")
    """plain, 3dgs (zero normals, which its loaders insist on; one static cloud) or 4dgs (also time, 0 to 1)."""
    per_frame: bool | None = knob(None, option="--per-frame/--static")
    """One cloud a frame, or the static scene of the clip. Default: by profile."""
    min_confidence: float = knob(0.0, least=0)
    max_points: int | None = knob(None, least=1)
    """At most this many points a file (of usd, glb, html: still ones). Default: all of a frame, a million of a clip."""
    voxel_size: float | None = None
    """Average a static cloud in voxels of this edge, world units (Open3D); of a mesh its detail."""
    min_views: int = knob(0, least=0, most=8)
    """Keep still points that this many of eight other frames see in the same place."""
    remove_outliers: bool = False
    """Leave points out that stand alone (Open3D)."""
    normals: bool = False
    """Estimate normals (Open3D)."""
    reporter: Reporter = dataclasses.field(default_factory=SilentReporter)

    @property
    def one_cloud_a_frame(self) -> bool:
        """Whether clouds are a folder of frames and not one file."""
        return self.profile == "plain" if self.per_frame is None else self.per_frame

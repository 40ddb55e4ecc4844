"""The knobs of exports, once."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from dpm_cli.errors import UsageError
from dpm_cli.progress import Reporter, SilentReporter

PlyProfile = Literal["plain", "3dgs", "4dgs"]


@dataclass(frozen=True)
class ExportOptions:
    """What an exporter may be told; each takes what concerns it."""

    profile: PlyProfile = "plain"
    """plain; 3dgs adds the zero normals that its loaders insist on; 4dgs also `time` in [0, 1]."""
    per_frame: bool | None = None
    """One cloud a frame (True) or one of the whole clip (False); None = a frame for plain, the clip for the others."""
    min_confidence: float = 0.0
    """Points below this are left out of clouds."""
    max_points: int | None = None
    """At most this many points a file, drawn evenly, of whole scenes that many still ones; None = all of a frame, a
    million of a clip."""
    voxel_size: float | None = None
    """Edge in world units of the voxels in which a static cloud is averaged (needs Open3D), and of a mesh; None = off,
    for meshes three pixels at the median depth."""
    remove_outliers: bool = False
    """Leave points out that stand alone in what their frame sees (needs Open3D)."""
    normals: bool = False
    """Estimate normals of clouds (needs Open3D)."""
    min_views: int = 0
    """Frames, of eight others asked, that must see a still point where it is; 0 = nobody is asked."""
    reporter: Reporter = field(default_factory=SilentReporter)

    @property
    def one_cloud_a_frame(self) -> bool:
        """Whether clouds are a folder of frames and not one file."""
        return self.profile == "plain" if self.per_frame is None else self.per_frame


def parse_profile(text: str) -> PlyProfile:
    """One of the profiles of point clouds.

    Raises:
        UsageError: another word.
    """
    for profile in get_args(PlyProfile):
        if profile == text:
            return profile
    raise UsageError(f"--profile {text}: choose from {', '.join(get_args(PlyProfile))}")

"""Names of the export formats, how each is written, and what its path must end with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dpm_cli.export.cameras import export_kitti_poses, export_tum
from dpm_cli.export.depth import export_depth
from dpm_cli.export.motion import export_flo, export_kitti_flow, export_masks
from dpm_cli.export.npz import export_npz
from dpm_cli.export.options import ExportOptions
from dpm_cli.export.ply import export_ply, is_per_frame
from dpm_cli.export.posed_images import export_colmap, export_nerfstudio
from dpm_cli.export.scenes import export_glb, export_html, export_usd
from dpm_cli.sequence import Sequence4D

EXPORTERS: dict[str, Callable[[Sequence4D, Path, ExportOptions], None]] = {
    "ply": export_ply,
    "npz": export_npz,
    "flo": export_flo,
    "kitti-flow": export_kitti_flow,
    "kitti-poses": export_kitti_poses,
    "depth": export_depth,
    "masks": export_masks,
    "tum": export_tum,
    "colmap": export_colmap,
    "nerfstudio": export_nerfstudio,
    "usd": export_usd,
    "glb": export_glb,
    "html": export_html,
}
_FILE_SUFFIXES = {
    "npz": ".npz",
    "usd": ".usd",
    "glb": ".glb",
    "html": ".html",
    "kitti-poses": ".txt",
    "tum": ".txt",
}


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote."""

    format: str
    path: Path
    bytes: int
    """Size of the file, or of all files in the folder."""


def suffix_of(name: str, options: ExportOptions) -> str:
    """Suffix of the file that a format writes, empty where it writes a folder."""
    if name == "ply":
        return "" if is_per_frame(options) else ".ply"
    return _FILE_SUFFIXES.get(name, "")

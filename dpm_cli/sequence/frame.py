"""Everything dpm knows of one frame, and its file `frames/000000.npz`.

Arrays are numpy at the working size, finite everywhere, also where `valid` is false. The motion fields belong to the
frame whose pixels they describe: `flow_bwd` of frame t is row t - 1 of the key `flow_bwd` of an exported npz.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path, reads
from dpm_cli.formats.npz_read import load_npz
from dpm_cli.geometry.camera import unproject


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One frame at the working size; forward fields are None on the last frame, backward ones on the first."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    depth: np.ndarray
    """(H, W) float32, z in this frame's camera, world units."""
    confidence: np.ndarray
    """(H, W) float32, 1 / expected relative error."""
    valid: np.ndarray
    """(H, W) bool, a finite estimate that is neither sky nor padding."""
    dynamic: np.ndarray
    """(H, W) float32 motion score in [0, 1]."""
    scene_flow_fwd: np.ndarray | None = None
    """(H, W, 3) float32, where the point is at the next frame minus where it is now; world axes and units."""
    scene_flow_bwd: np.ndarray | None = None
    """(H, W, 3) float32, where the point was at the previous frame minus where it is now."""
    flow_fwd: np.ndarray | None = None
    """(H, W, 2) float32 pixels of the working size, to the next frame."""
    flow_bwd: np.ndarray | None = None
    """(H, W, 2) float32 pixels of the working size, to the previous frame."""
    flow_fwd_valid: np.ndarray | None = None
    """(H, W) bool, the matched point is inside the next image and not judged hidden."""
    flow_bwd_valid: np.ndarray | None = None
    """(H, W) bool, the same for the previous image."""

    def points(self, cam2world: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
        """World points (H, W, 3) float32 by the law points = unproject(depth, intrinsics, cam2world)."""
        return world_points(self.depth, cam2world, intrinsics)


FRAME_KEYS = tuple(field.name for field in fields(FrameResult))
MOTION_KEYS = tuple(key for key in FRAME_KEYS if key.split("_")[0] in ("scene", "flow"))
"""The keys of which T frames have T - 1 rows."""


def world_points(depth: np.ndarray, cam2world: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """World points (H, W, 3) float32 of z-depth (H, W), cam2world (4, 4) and K (3, 3); computed in float64."""
    points = unproject(
        torch.from_numpy(np.asarray(depth, np.float64)),
        torch.from_numpy(np.asarray(intrinsics, np.float64)),
    ).numpy()
    return (points @ cam2world[:3, :3].T + cam2world[:3, 3]).astype(np.float32)


def write_frame(path: Path, frame: FrameResult) -> None:
    """Write one frame atomically.

    Raises:
        ValueError: an array holds NaN or infinity, which no result of dpm may.
    """
    arrays = {key: getattr(frame, key) for key in FRAME_KEYS if getattr(frame, key) is not None}
    for key, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{key} of {path.name} is not finite everywhere")
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


_ALWAYS = {f.name for f in fields(FrameResult) if f.default is not None}


@reads("a frame of a run")
def read_frame_arrays(path: Path, keys: Iterable[str] = FRAME_KEYS) -> dict[str, np.ndarray]:
    """Those of `keys` that the frame's file holds.

    Raises:
        InputError: the file is missing, damaged or lacks what every frame has.
    """
    wanted = set(keys)
    found = load_npz(path, wanted)
    if lacking := (_ALWAYS & wanted) - found.keys():
        raise InputError(f"{path} is no frame of a run: it lacks {', '.join(sorted(lacking))}")
    return found

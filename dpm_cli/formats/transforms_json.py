"""nerfstudio's `transforms.json`: camera-to-world in OpenGL axes, intrinsics a frame, pixel corners at integers.

OpenGL cameras look along -z with y up: cam2world_gl = cam2world @ diag(1, -1, -1, 1), which turns the camera's axes
only; the world stays ours. `time` runs from 0 at the first frame to 1 at the last. Format: nerfstudio
data_conventions.md.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpm_cli.files import JSON_DAMAGE, reads, write_json
from dpm_cli.formats.scene import GL_FROM_CV


@dataclass(frozen=True, eq=False)
class TransformsFile:
    """Cameras of T images in dpm's conventions."""

    names: list[str]
    """Path of each image relative to the file."""
    size: tuple[int, int]
    """(height, width)."""
    intrinsics: np.ndarray
    """(T, 3, 3), pixel centres at integers."""
    cam2world: np.ndarray
    """(T, 4, 4), OpenCV axes."""
    time: np.ndarray
    """(T,) in [0, 1]."""
    ply: str = ""
    """Path of the point cloud relative to the file, empty where there is none."""


def write_transforms(path: Path, transforms: TransformsFile) -> None:
    """Write atomically."""
    height, width = transforms.size
    frames = []
    for t, name in enumerate(transforms.names):
        K = transforms.intrinsics[t]
        frames.append(
            {
                "file_path": name,
                "fl_x": float(K[0, 0]),
                "fl_y": float(K[1, 1]),
                "cx": float(K[0, 2] + 0.5),
                "cy": float(K[1, 2] + 0.5),
                "time": float(transforms.time[t]),
                "transform_matrix": (transforms.cam2world[t] @ GL_FROM_CV).tolist(),
            }
        )
    top = {"camera_model": "PINHOLE", "w": width, "h": height}
    if transforms.ply:
        top["ply_file_path"] = transforms.ply
    write_json(path, {**top, "frames": frames})


@reads("transforms.json", *JSON_DAMAGE)
def read_transforms(path: Path) -> TransformsFile:
    """Read a file as `write_transforms` writes it.

    Raises:
        InputError: missing or not such a file.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    frames = content["frames"]
    matrices = np.array([frame["transform_matrix"] for frame in frames], np.float64)
    rows = np.array([[f["fl_x"], f["fl_y"], f["cx"], f["cy"]] for f in frames], np.float64)
    size = (int(content["h"]), int(content["w"]))
    if not (np.isfinite(matrices).all() and np.isfinite(rows).all()):
        raise ValueError("numbers that are not finite")
    intrinsics = np.tile(np.eye(3), (len(frames), 1, 1))
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = rows[:, 0], rows[:, 1]
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = rows[:, 2] - 0.5, rows[:, 3] - 0.5
    return TransformsFile(
        names=[frame["file_path"] for frame in frames],
        size=size,
        intrinsics=intrinsics,
        cam2world=matrices @ GL_FROM_CV,
        time=np.array([frame.get("time", 0.0) for frame in frames]),
        ply=content.get("ply_file_path", ""),
    )

"""Waymo as DUSt3R preprocesses it: <segment>/<frame>_<camera>.{jpg,exr,npz}.

The .exr holds sparse z-depth in metres (0 = none), the .npz `intrinsics` (3, 3) and `cam2world` (4, 4). Each camera
of a segment becomes a sequence of its own. There is no motion truth in these files.
"""

from pathlib import Path

import numpy as np

from dpm_cli.formats.openexr import read_exr
from dpm_cli.workshop.datasets.layout import files, folders, require, wrong_layout
from dpm_cli.workshop.datasets.rasters import read_rgb
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth


def read_waymo(root: Path) -> list[SequenceTruth]:
    """All cameras of all segments.

    Raises:
        InputError: no such folders.
    """
    found = []
    for segment in (root, *folders(root)):
        cameras: dict[str, list[Path]] = {}
        for depth in files(segment, "*_*.exr"):
            cameras.setdefault(depth.stem.split("_")[-1], []).append(depth)
        found += [_sequence(segment, camera, cameras[camera]) for camera in sorted(cameras)]
    if not found:
        raise wrong_layout(
            "waymo", root, "<segment>/00000_1.jpg, 00000_1.exr and 00000_1.npz (as DUSt3R writes)"
        )
    return found


def _sequence(segment: Path, camera: str, depth: list[Path]) -> SequenceTruth:
    images = [require("waymo", p.with_suffix(".jpg")) for p in depth]
    cameras = []
    for path in depth:
        with np.load(require("waymo", path.with_suffix(".npz")), allow_pickle=False) as data:
            cameras.append(
                (data["intrinsics"].astype(np.float64), data["cam2world"].astype(np.float64))
            )
    return SequenceTruth(
        dataset="waymo",
        name=f"{segment.name}/{camera}",
        images=Lazy(tuple(images), read_rgb),
        depth=Lazy(tuple(depth), read_exr),
        intrinsics=np.stack([K for K, _ in cameras]),
        cam2world=np.stack([pose for _, pose in cameras]),
        metric=True,
    )

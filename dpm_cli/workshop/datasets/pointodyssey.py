"""PointOdyssey: <split>/<sequence>/{rgbs/rgb_00000.jpg,depths/depth_00000.png,anno.npz}.

Depth is 16 bit, 65535 = 1000 m; anno.npz holds trajs_2d, trajs_3d (world), visibs, valids, intrinsics and extrinsics
(world to camera, OpenCV axes).
"""

from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets.layout import files, first_folder, folders, wrong_layout
from dpm_cli.workshop.datasets.rasters import read_raw, read_rgb
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth, TrackTruth

_KEYS = ("trajs_2d", "trajs_3d", "visibs", "valids", "intrinsics", "extrinsics")


def read_pointodyssey(root: Path) -> list[SequenceTruth]:
    """Sequences of one split: `root` itself, or its test, val or train folder.

    Raises:
        InputError: no such folders.
    """
    base = first_folder(root, "test", "val", "train")
    found = [_sequence(p) for p in (base, *folders(base)) if (p / "anno.npz").is_file()]
    if not found:
        raise wrong_layout(
            "pointodyssey", root, "<sequence>/{rgbs/rgb_00000.jpg,depths/depth_00000.png,anno.npz}"
        )
    return found


def _sequence(root: Path) -> SequenceTruth:
    images, depth = files(root / "rgbs", "*.jpg", "*.png"), files(root / "depths", "*.png")
    if not images or len(images) != len(depth):
        raise InputError(f"{root}: {len(images)} images in rgbs/ and {len(depth)} maps in depths/")
    with np.load(root / "anno.npz", allow_pickle=False) as data:
        missing = [key for key in _KEYS if key not in data]
        if missing:
            raise InputError(f"{root}/anno.npz has no {', '.join(missing)}")
        arrays = {key: data[key][: len(images)] for key in _KEYS}
    extrinsics = np.tile(np.eye(4), (len(images), 1, 1))
    extrinsics[:, :3] = arrays["extrinsics"][:, :3]
    return SequenceTruth(
        dataset="pointodyssey",
        name=root.name,
        images=Lazy(tuple(images), read_rgb),
        depth=Lazy(tuple(depth), _depth),
        intrinsics=arrays["intrinsics"].astype(np.float64),
        cam2world=np.linalg.inv(extrinsics),
        tracks=TrackTruth(
            points=arrays["trajs_3d"].astype(np.float64),
            pixels=arrays["trajs_2d"].astype(np.float64),
            valid=arrays["valids"].astype(bool),
            visible=arrays["visibs"].astype(bool),
        ),
        metric=True,
        max_depth=999.0,
    )


def _depth(path: Path) -> np.ndarray:
    return read_raw(path).astype(np.float32) * np.float32(1000 / 65535)

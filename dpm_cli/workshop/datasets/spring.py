"""Spring: train/<sequence>/{frame_left,disp1_left,disp2_FW_left,flow_FW_left}/*, cam_data/{intrinsics,extrinsics}.txt.

Disparity (.dsp5) and flow (.flo5) are HDF5 at twice the image's size, in pixels of the image's size; one of four values
is taken. The stereo baseline is 6.5 cm. disp2_FW is the later disparity of the same pixels, as in KITTI scene flow.
"""

from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets.layout import (
    files,
    first_folder,
    folders,
    number,
    require,
    wrong_layout,
)
from dpm_cli.workshop.datasets.rasters import read_flow, read_hdf5, read_rgb
from dpm_cli.workshop.datasets.truth import FlowTruth, Lazy, SceneFlowTruth, SequenceTruth

BASELINE_M = 0.065


def read_spring(root: Path) -> list[SequenceTruth]:
    """Training sequences, left camera, forward in time.

    Raises:
        InputError: no such folders.
    """
    base = first_folder(root, "train")
    found = [_sequence(p) for p in folders(base) if files(p / "frame_left", "*.png")]
    if not found:
        raise wrong_layout(
            "spring",
            root,
            "train/<sequence>/{frame_left/frame_left_0001.png,disp1_left/,flow_FW_left/,cam_data/}",
        )
    return found


def _sequence(root: Path) -> SequenceTruth:
    images = files(root / "frame_left", "*.png")
    K = _intrinsics(require("spring", root / "cam_data" / "intrinsics.txt"), len(images))
    rows = np.loadtxt(require("spring", root / "cam_data" / "extrinsics.txt")).reshape(-1, 4, 4)
    world = np.linalg.inv(rows[: len(images)])
    numbers = {number(p): i for i, p in enumerate(images)}
    disparity = [root / "disp1_left" / f"disp1_left_{n:04d}.dsp5" for n in numbers]
    flows = [p for p in files(root / "flow_FW_left", "*.flo5") if number(p) + 1 in numbers]
    pairs = tuple((numbers[number(p)], numbers[number(p) + 1]) for p in flows)
    later = [root / "disp2_FW_left" / f"disp2_FW_left_{number(p):04d}.dsp5" for p in flows]
    has_depth, has_later = (bool(ps) and all(p.exists() for p in ps) for ps in (disparity, later))

    def scene_flow(index: int) -> SceneFlowTruth:
        first, second = pairs[index]
        motion = np.linalg.inv(world[second]) @ world[first]
        z = [_depth((p, K[first, 0, 0])) for p in (disparity[first], later[index])]
        return _scene_flow(z, _flow(flows[index]), K[first], K[second], motion)

    return SequenceTruth(
        dataset="spring",
        name=root.name,
        images=Lazy(tuple(images), read_rgb),
        depth=Lazy(tuple(zip(disparity, K[:, 0, 0], strict=True)), _depth) if has_depth else None,
        intrinsics=K,
        cam2world=world,
        flow_pairs=pairs,
        flow=Lazy(tuple(flows), _flow) if flows else None,
        scene_flow_pairs=pairs if has_depth and has_later else (),
        scene_flow=Lazy(tuple(range(len(pairs))), scene_flow) if has_depth and has_later else None,
        metric=True,
    )


def _intrinsics(path: Path, frames: int) -> np.ndarray:
    rows = np.loadtxt(path).reshape(-1, 4)
    if len(rows) < frames:
        raise InputError(f"{path}: {len(rows)} rows of fx fy cx cy for {frames} images")
    K = np.zeros((frames, 3, 3))
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = *rows[:frames].T, 1
    return K


def _depth(item: tuple[Path, float]) -> np.ndarray:
    path, focal_px = item
    disparity = read_hdf5(path, "disparity")[::2, ::2]
    valid = np.isfinite(disparity) & (disparity > 0)
    return np.where(valid, focal_px * BASELINE_M / np.where(valid, disparity, 1), 0).astype(
        np.float32
    )


def _flow(path: Path) -> FlowTruth:
    truth = read_flow(path)
    return FlowTruth(truth.flow[::2, ::2], truth.valid[::2, ::2])


def _scene_flow(
    depth: list[np.ndarray], flow: FlowTruth, K1: np.ndarray, K2: np.ndarray, motion: np.ndarray
) -> SceneFlowTruth:
    valid = (depth[0] > 0) & (depth[1] > 0) & flow.valid
    height, width = valid.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float64)
    points = []
    for z, pixels, K in ((depth[0], grid, K1), (depth[1], grid + flow.flow, K2)):
        xy = (pixels - K[:2, 2]) / K[[0, 1], [0, 1]]
        points.append(
            np.where(valid[..., None], np.dstack((xy * z[..., None], z)), 0).astype(np.float32)
        )
    return SceneFlowTruth(points[0], points[1], valid, motion)

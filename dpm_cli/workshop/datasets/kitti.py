"""KITTI: depth (val_selection_cropped or annotated drives), flow and scene flow (2015, and 2012's flow).

Disparity and depth are 16 bit over 256, flow is 16 bit RGB; 0 means no truth. Scene flow: `disp_occ_1` is the disparity
at the later time of the *same* pixels of the earlier image, so both point sets are indexed by it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dpm_cli.workshop.datasets.layout import files, first_folder, folders, require, wrong_layout
from dpm_cli.workshop.datasets.rasters import (
    read_depth_png,
    read_flow,
    read_kitti_disparity,
    read_label,
    read_rgb,
)
from dpm_cli.workshop.datasets.truth import FlowTruth, Lazy, SceneFlowTruth, SequenceTruth

DEPTH_LAYOUT = (
    "image/, groundtruth_depth/ and intrinsics/ (depth_selection/val_selection_cropped), "
    "or <drive>_sync/{image_02/data/,proj_depth/groundtruth/image_02/}"
)
MAX_FRAMES = 110


def read_kitti_depth(root: Path) -> list[SequenceTruth]:
    """Drives with depth; at most 110 frames each, as in the video depth protocol.

    Raises:
        InputError: no such folders.
    """
    base = first_folder(
        root, "depth_selection/val_selection_cropped", "val_selection_cropped", "val", "train"
    )
    found = _cropped(base) if (base / "groundtruth_depth").is_dir() else _drives(base)
    if not found:
        raise wrong_layout("kitti-depth", root, DEPTH_LAYOUT)
    return found


def _cropped(base: Path) -> list[SequenceTruth]:
    groups: dict[str, list[tuple[Path, Path, Path]]] = {}
    for depth in files(base / "groundtruth_depth", "*.png"):
        drive, tail = depth.stem.split("_groundtruth_depth_")
        image = require("kitti-depth", base / "image" / f"{drive}_image_{tail}.png")
        K = require("kitti-depth", base / "intrinsics" / f"{drive}_image_{tail}.txt")
        groups.setdefault(f"{drive}_{tail[-2:]}", []).append((image, depth, K))
    return [_depth_sequence(name, rows[:MAX_FRAMES]) for name, rows in sorted(groups.items())]


def _drives(base: Path) -> list[SequenceTruth]:
    found = []
    for drive in folders(base):
        depth = files(drive / "proj_depth" / "groundtruth" / "image_02", "*.png")[:MAX_FRAMES]
        rows = [(drive / "image_02" / "data" / p.name, p, None) for p in depth]
        rows = [row for row in rows if row[0].exists()]
        if rows:
            found.append(_depth_sequence(drive.name, rows))
    return found


def _depth_sequence(name: str, rows: Sequence[tuple[Path, Path, Path | None]]) -> SequenceTruth:
    intrinsics = [np.loadtxt(K).reshape(3, 3) for _, _, K in rows if K is not None]
    return SequenceTruth(
        dataset="kitti-depth",
        name=name,
        images=Lazy(tuple(r[0] for r in rows), read_rgb),
        depth=Lazy(tuple(r[1] for r in rows), _depth),
        intrinsics=np.stack(intrinsics) if intrinsics else None,
        metric=True,
    )


def _depth(path: Path) -> np.ndarray:
    return read_depth_png(path, 1 / 256)


def read_kitti_flow(root: Path) -> list[SequenceTruth]:
    """Image pairs of the flow benchmark; also one pair alone as frame1.png, frame2.png, flow_gt.png.

    Raises:
        InputError: no such folders.
    """
    base = first_folder(root, "training")
    if (base / "flow_gt.png").is_file():
        images = [require("kitti-flow", base / f"frame{i}.png") for i in (1, 2)]
        return [_flow_sequence(base.name, images, base / "flow_gt.png", None)]
    colour = first_folder(base, "image_2", "colored_0", "image_0")
    found = []
    for flow in files(base / "flow_occ", "*_10.png"):
        scene = flow.stem.removesuffix("_10")
        images = [require("kitti-flow", colour / f"{scene}_{i}.png") for i in (10, 11)]
        seen = base / "flow_noc" / flow.name
        found.append(_flow_sequence(scene, images, flow, seen if seen.exists() else None))
    if not found:
        raise wrong_layout(
            "kitti-flow", root, "training/{image_2/000000_10.png,flow_occ/000000_10.png}"
        )
    return found


def _flow_sequence(name: str, images: list[Path], flow: Path, seen: Path | None) -> SequenceTruth:
    return SequenceTruth(
        dataset="kitti-flow",
        name=name,
        images=Lazy(tuple(images), read_rgb),
        flow_pairs=((0, 1),),
        flow=Lazy(((flow, seen),), _flow),
    )


def _flow(item: tuple[Path, Path | None]) -> FlowTruth:
    truth = read_flow(item[0])
    visible = None if item[1] is None else truth.valid & read_flow(item[1]).valid
    return FlowTruth(truth.flow, truth.valid, visible)


def read_kitti_sceneflow(root: Path) -> list[SequenceTruth]:
    """Scenes with disparity at both times, flow and calibration; z = focal * baseline / disparity.

    Camera motion and a moving mask are read from derived/<scene>_T_11_from_10.txt and derived/<scene>_moving.png where
    somebody made them, the mask else from obj_map/ (cars that move).

    Raises:
        InputError: no such folders.
    """
    base = first_folder(root, "training")
    calibration = first_folder(base, "calib_cam_to_cam", "calib_cam")
    scenes = [p.stem.removesuffix("_10") for p in files(base / "disp_occ_1", "*_10.png")]
    if not scenes or calibration == base:
        raise wrong_layout(
            "kitti-sceneflow",
            root,
            "training/{image_2,disp_occ_0,disp_occ_1,flow_occ}/000000_10.png and calib_cam_to_cam/000000.txt",
        )
    return [_scene(base, calibration, scene) for scene in scenes]


def _scene(base: Path, calibration: Path, scene: str) -> SequenceTruth:
    images = [require("kitti-sceneflow", base / "image_2" / f"{scene}_{i}.png") for i in (10, 11)]
    flow = require("kitti-sceneflow", base / "flow_occ" / f"{scene}_10.png")
    seen = base / "flow_noc" / flow.name
    K, baseline = _stereo(require("kitti-sceneflow", calibration / f"{scene}.txt"))
    motion = base / "derived" / f"{scene}_T_11_from_10.txt"
    second_from_first = np.loadtxt(motion).reshape(4, 4) if motion.exists() else None
    disparity = [require("kitti-sceneflow", base / f"disp_occ_{i}" / flow.name) for i in (0, 1)]
    labels = _moving(base, scene)
    masks = None if labels is None else Lazy((labels,), np.asarray)

    def load(_: int) -> SceneFlowTruth:
        return _scene_flow(disparity, flow, K, baseline, second_from_first, labels)

    cam2world = None
    if second_from_first is not None:
        cam2world = np.stack((np.eye(4), np.linalg.inv(second_from_first)))
    return SequenceTruth(
        dataset="kitti-sceneflow",
        name=scene,
        images=Lazy(tuple(images), read_rgb),
        intrinsics=np.stack((K, K)),
        cam2world=cam2world,
        masks=masks,
        flow_pairs=((0, 1),),
        flow=Lazy(((flow, seen if seen.exists() else None),), _flow),
        scene_flow_pairs=((0, 1),),
        scene_flow=Lazy((0,), load),
        metric=True,
    )


def _scene_flow(
    disparity: list[Path],
    flow_path: Path,
    K: np.ndarray,
    baseline: float,
    second_from_first: np.ndarray | None,
    moving: np.ndarray | None,
) -> SceneFlowTruth:
    disp_0, disp_1 = (read_kitti_disparity(p) for p in disparity)
    flow = read_flow(flow_path)
    valid = (disp_0 > 0) & (disp_1 > 0) & flow.valid
    height, width = valid.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float64)
    points = []
    for disp, pixels in ((disp_0, grid), (disp_1, grid + flow.flow)):
        z = np.where(valid, K[0, 0] * baseline / np.where(valid, disp, 1), 0)
        xy = (pixels - K[:2, 2]) / K[0, 0]
        points.append(
            np.where(valid[..., None], np.dstack((xy * z[..., None], z)), 0).astype(np.float32)
        )
    return SceneFlowTruth(points[0], points[1], valid, second_from_first, moving)


def _moving(base: Path, scene: str) -> np.ndarray | None:
    derived, objects = (
        base / "derived" / f"{scene}_moving.png",
        base / "obj_map" / f"{scene}_10.png",
    )
    if derived.exists():
        labels = read_label(derived)
        return np.select([labels == 255, labels == 0], [1, 0], -1).astype(np.int8)
    return (read_label(objects) > 0).astype(np.int8) if objects.exists() else None


def _stereo(path: Path) -> tuple[np.ndarray, float]:
    """Intrinsics (3, 3) of the rectified left colour camera and the baseline in metres."""
    rows = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    P2, P3 = (np.array(rows[f"P_rect_0{i}"].split(), np.float64).reshape(3, 4) for i in (2, 3))
    K = np.array([[P2[0, 0], 0, P2[0, 2]], [0, P2[0, 0], P2[1, 2]], [0, 0, 1]])
    return K, float((P2[0, 3] - P3[0, 3]) / P2[0, 0])

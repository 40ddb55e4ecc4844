"""A small exact sequence: a camera that moves past a sloped plane with a patch that slides on it."""

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dpm_cli.geometry.camera import project_map, source_from_working
from dpm_cli.sequence import FrameResult, Sequence4D, SequenceHeader
from dpm_cli.structures import Cameras

NORMAL = np.array([-0.2, 0.1, 1.0])
OFFSET = 4.0
SLIDE = np.array([0.15, 0.0, 0.03])
"""Per frame, in the plane: SLIDE . NORMAL = 0."""


def toy_header(count: int = 4, size=(24, 36), source_size=(60, 90)) -> SequenceHeader:
    t = np.arange(count)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(t[:, None] * (0.01, 0.03, -0.02)).as_matrix()
    poses[:, :3, 3] = t[:, None] * (0.1, -0.02, 0.05)
    K = np.array([[40.0, 0, (size[1] - 1) / 2], [0, 41.0, (size[0] - 1) / 2], [0, 0, 1]])
    return SequenceHeader(
        cameras=Cameras(poses, np.tile(K, (count, 1, 1)), np.ones(count, bool)),
        size=size,
        source_from_working=source_from_working(source_size, size).numpy(),
        frame_index=3 * t.astype(np.int64) + 1,
        timestamps=0.1 * t + 0.02,
        shot=np.zeros(count, np.int64),
        scale="arbitrary",
        model="toy",
    )


def toy_frames(header: SequenceHeader, seed: int = 0) -> list[FrameResult]:
    rng = np.random.default_rng(seed)
    return [_toy_frame(header, t, rng) for t in range(len(header))]


def _toy_frame(header: SequenceHeader, t: int, rng: np.random.Generator) -> FrameResult:
    height, width = header.size
    cameras = header.cameras
    y, x = np.mgrid[:height, :width].astype(np.float64)
    rays = np.stack((x, y, np.ones_like(x)), -1) @ np.linalg.inv(cameras.intrinsics[t]).T
    pose = cameras.cam2world[t]
    depth = (OFFSET - pose[:3, 3] @ NORMAL) / (rays @ pose[:3, :3].T @ NORMAL)
    moving = np.hypot(x - width / 2, y - height / 2) < 6
    valid = np.ones((height, width), bool)
    valid[0] = False
    frame = FrameResult(
        image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        depth=depth.astype(np.float32),
        confidence=rng.uniform(1, 40, (height, width)).astype(np.float32),
        valid=valid,
        dynamic=np.where(moving, 0.9, 0.1).astype(np.float32),
    )
    points = frame.points(pose, cameras.intrinsics[t])
    motion = {}
    for name, step in (("fwd", 1), ("bwd", -1)):
        if 0 <= t + step < len(header):
            scene_flow = np.where(moving[..., None], step * SLIDE, 0).astype(np.float32)
            flow = flow_between(points + scene_flow, cameras, t + step, x, y)
            target = flow + np.stack((x, y), -1)
            inside = ((target >= 0) & (target <= (width - 1, height - 1))).all(-1)
            motion[f"scene_flow_{name}"] = scene_flow
            motion[f"flow_{name}"] = flow
            motion[f"flow_{name}_valid"] = inside & valid
    return replace(frame, **motion)


def flow_between(points, cameras: Cameras, other: int, x, y) -> np.ndarray:
    world2cam = np.linalg.inv(cameras.cam2world[other])
    local = torch.from_numpy(points @ world2cam[:3, :3].T + world2cam[:3, 3])
    pixels = project_map(local, torch.from_numpy(cameras.intrinsics[other])).numpy()
    return (pixels - np.stack((x, y), -1)).astype(np.float32)


def toy_sequence() -> Sequence4D:
    header = toy_header()
    return Sequence4D.from_arrays(toy_arrays(header, toy_frames(header)), "toy")


def toy_arrays(header: SequenceHeader, frames: list[FrameResult]) -> dict[str, np.ndarray]:
    """The keys of CONVENTIONS.md, stacked the plain way."""
    arrays = dict(header.arrays())
    arrays["images"] = np.stack([frame.image for frame in frames])
    arrays["points"] = np.stack(
        [
            f.points(header.cameras.cam2world[t], header.cameras.intrinsics[t])
            for t, f in enumerate(frames)
        ]
    )
    for key in ("depth", "confidence", "valid", "dynamic"):
        arrays[key] = np.stack([getattr(frame, key) for frame in frames])
    for key in ("scene_flow", "flow", "flow_valid"):
        stem, tail = key.removesuffix("_valid"), "_valid" if key.endswith("_valid") else ""
        arrays[f"{stem}_fwd{tail}"] = np.array(
            [getattr(f, f"{stem}_fwd{tail}") for f in frames[:-1]]
        )
        arrays[f"{stem}_bwd{tail}"] = np.array(
            [getattr(f, f"{stem}_bwd{tail}") for f in frames[1:]]
        )
    return arrays

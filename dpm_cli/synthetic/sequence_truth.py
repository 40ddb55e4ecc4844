"""A rendered clip as a sequence: the arrays of spec section 4, and what the four maps of any frame pair need.

The world is the first frame's camera. Extra keys hold the objects: `object_id` (T, H, W) int16 slot (0 background,
-1 sky), `object_poses` (T, N, 4, 4) float64 world from object, rigid, `object_scale` (T, N, 3), `object_deform`
(T, N, 8), `object_kind`, `object_mover`, `object_instance` (N,), `seed`. `read_truth` gives the clip back from them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dpm_cli.errors import InputError
from dpm_cli.formats.npz_stream import npz_stream
from dpm_cli.geometry.camera import unproject
from dpm_cli.geometry.rigid import invert, rotate_map, transform_map

if TYPE_CHECKING:
    from dpm_cli.synthetic.truth import ClipTruth

TRUTH_CONFIDENCE = 1e4
"""Confidence of exact points: single precision and the casters' root finding are good for a relative 1e-4."""
CONVENTION = (
    "opencv: x right, y down, z forward; pixel centres at integers; cam2world; depth is z; "
    "scene flow in world axes; optical flow in working pixels"
)
_MOTION_STRIDES = (-4, -1, 1, 4)
_OBJECT_KEYS = {
    "object_scale": "scale",
    "object_deform": "deform",
    "object_kind": "kind",
    "object_mover": "mover",
    "object_instance": "instance",
}


def sequence_arrays(truth: "ClipTruth", fps: float = 24.0) -> dict[str, np.ndarray]:
    """All keys of one clip (B = 1) at `fps` frames a second."""
    truth = truth.to("cpu")
    frames = truth.depth.shape[1]
    scene_from_cam = _exact_rotation(truth.cam2world[0])
    world_from_scene = invert(scene_from_cam[0])
    cam2world = world_from_scene @ scene_from_cam
    depth, K = truth.depth[0], truth.intrinsics[0]
    valid = depth > 0
    points = transform_map(cam2world, unproject(depth.double(), K.double())) * valid[..., None]
    arrays = {
        "points": points.float(),
        "confidence": TRUTH_CONFIDENCE * valid.float(),
        "valid": valid,
        "depth": depth,
        "cam2world": cam2world,
        "intrinsics": K.double(),
        "intrinsics_source": K.double(),
        "source_from_working": torch.eye(3, dtype=torch.float64),
        **_neighbours(truth, world_from_scene),
        "dynamic": _dynamic(truth),
        "camera_ok": torch.ones(frames, dtype=torch.bool),
        "shot": torch.zeros(frames, dtype=torch.int64),
        "images": truth.images[0].permute(0, 2, 3, 1),
        "frame_index": torch.arange(frames),
        "timestamps": torch.arange(frames, dtype=torch.float64) / fps,
        **_objects(truth, world_from_scene),
    }
    texts = {
        "convention": CONVENTION,
        "world": "first-camera",
        "scale": "arbitrary",
        "model": "synth",
    }
    return {k: v.cpu().numpy() for k, v in arrays.items()} | {
        k: np.array(v) for k, v in texts.items()
    }


def _exact_rotation(pose: Tensor) -> Tensor:
    """Rigid (..., 4, 4) in float64 with rotations orthonormal beyond single precision: one Newton step."""
    out = pose.to(torch.float64, copy=True)
    R = out[..., :3, :3]
    eye = torch.eye(3, dtype=torch.float64)
    out[..., :3, :3] = R @ (1.5 * eye - 0.5 * R.transpose(-1, -2) @ R)
    return out


def _objects(truth: "ClipTruth", world_from_scene: Tensor) -> dict[str, Tensor]:
    """The state of all objects, in the world of the first camera."""
    rows = {key: getattr(truth, name)[0] for key, name in _OBJECT_KEYS.items()}
    poses = world_from_scene @ _exact_rotation(truth.pose[0])
    return rows | {"object_id": truth.object_id[0], "object_poses": poses, "seed": truth.seed[0]}


def _neighbours(truth: "ClipTruth", world_from_scene: Tensor) -> dict[str, Tensor]:
    """Scene flow and optical flow between neighbouring frames, both ways."""
    height, width = truth.size
    empty = torch.zeros(0, height, width, 3), torch.zeros(0, height, width, 2)
    rows: dict[str, list[Tensor]] = {
        f"{n}_{w}": [] for n in ("scene_flow", "flow", "valid") for w in ("fwd", "bwd")
    }
    for t in range(truth.depth.shape[1] - 1):
        pair = truth.pair(t, t + 1)
        shift = pair.points[0, :, 1] - pair.points[0, :, 0]
        turn = (world_from_scene @ truth.cam2world[0, t].double()).float()
        for view, way, sign in ((0, "fwd", 1), (1, "bwd", -1)):
            rows[f"scene_flow_{way}"].append(rotate_map(turn, sign * shift[view]))
            rows[f"flow_{way}"].append(pair.flow[0, view])
            rows[f"valid_{way}"].append(pair.visible[0, view] & pair.valid[0, view, 0])
    out = {}
    for way in ("fwd", "bwd"):
        out[f"scene_flow_{way}"] = (
            torch.stack(rows[f"scene_flow_{way}"]) if rows["flow_fwd"] else empty[0]
        )
        out[f"flow_{way}"] = torch.stack(rows[f"flow_{way}"]) if rows["flow_fwd"] else empty[1]
        out[f"flow_{way}_valid"] = (
            torch.stack(rows[f"valid_{way}"]) if rows["flow_fwd"] else empty[1][..., 0] > 0
        )
    return out


def _dynamic(truth: "ClipTruth") -> Tensor:
    """1 where a pixel's point moves towards a frame 1 or 4 before or after, else 0, (T, H, W) float32."""
    last = truth.depth.shape[1] - 1
    rows = []
    for t in range(last + 1):
        others = [t + s for s in _MOTION_STRIDES if 0 <= t + s <= last]
        moves = [truth.moves(t, o)[0] for o in others]
        rows.append(torch.stack(moves).any(0).float() if moves else torch.zeros(truth.size))
    return torch.stack(rows)


def write_truth(path: Path, truth: "ClipTruth", fps: float = 24.0) -> None:
    """Write the arrays of one clip (B = 1) as an npz file, atomically."""
    with npz_stream(Path(path)) as stream:
        for key, array in sequence_arrays(truth, fps).items():
            stream.write(key, array)


def truth_fields(path: Path) -> dict[str, Tensor]:
    """Fields of the `ClipTruth` (B = 1) in a file of `write_truth`; InputError where it holds no objects."""
    with np.load(path, allow_pickle=False) as data:
        if "object_poses" not in data:
            raise InputError(
                f"{path} holds no objects, so no truth of far pairs: render it with `dpm synth`"
            )
        fields = {name: torch.from_numpy(data[key])[None] for key, name in _OBJECT_KEYS.items()}
        arrays = {
            k: torch.from_numpy(data[k])[None]
            for k in ("images", "depth", "object_id", "intrinsics")
        }
        cam2world, poses = data["cam2world"], data["object_poses"]
        seed, index = int(data["seed"]), data["frame_index"]
    return fields | {
        "images": arrays["images"].permute(0, 1, 4, 2, 3).contiguous(),
        "depth": arrays["depth"],
        "object_id": arrays["object_id"],
        "intrinsics": arrays["intrinsics"].float(),
        "cam2world": torch.from_numpy(cam2world)[None].float(),
        "pose": torch.from_numpy(poses)[None].float(),
        "time": torch.from_numpy(index)[None].float(),
        "seed": torch.tensor([seed]),
    }

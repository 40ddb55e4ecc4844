"""A rendered clip as a sequence: the arrays of CONVENTIONS.md, and what the four maps of any frame pair need.

The world is the first frame's camera. Extra keys hold the objects: `object_id` (T, H, W) int16 slot (0 background,
-1 sky), `object_poses` (T, N, 4, 4) float64 world from object, rigid, `object_scale` (T, N, 3), `object_deform`
(T, N, 8), `object_kind`, `object_mover`, `object_instance` (N,), `seed`. `read_truth` gives the clip back from them.
"""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from dpm_cli.errors import InputError
from dpm_cli.formats.npz_stream import npz_stream
from dpm_cli.geometry.camera import unproject
from dpm_cli.geometry.rigid import invert, rotate_map, transform_map
from dpm_cli.sequence.header import CONVENTION
from dpm_cli.workshop.synthetic.truth import ClipTruth

TRUTH_CONFIDENCE = 1e4
"""Confidence of exact points: single precision and the casters' root finding are good for a relative 1e-4."""
_MOTION_STRIDES = (-4, -1, 1, 4)
_PIXEL_ROWS: dict[str, tuple[tuple[int, ...], type]] = {
    "points": ((3,), np.float32),
    "confidence": ((), np.float32),
    "valid": ((), np.bool_),
    "depth": ((), np.float32),
    "dynamic": ((), np.float32),
    "images": ((3,), np.uint8),
    "object_id": ((), np.int16),
    "scene_flow_fwd": ((3,), np.float32),
    "scene_flow_bwd": ((3,), np.float32),
    "flow_fwd": ((2,), np.float32),
    "flow_bwd": ((2,), np.float32),
    "flow_fwd_valid": ((), np.bool_),
    "flow_bwd_valid": ((), np.bool_),
}
"""Channels and type of the keys that have pixels."""
_OBJECT_KEYS = {
    "object_scale": "scale",
    "object_deform": "deform",
    "object_kind": "kind",
    "object_mover": "mover",
    "object_instance": "instance",
}


def write_truth(path: Path, truth: ClipTruth, fps: float = 24.0) -> None:
    """Write the keys of one clip (B = 1) as an npz file, atomically, holding the arrays of one frame at a time.

    The file wants one key after the other, the computation gives one frame after the other: rows wait in scratch files.
    """
    truth = truth.to("cpu")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder,
        ExitStack() as stack,
    ):
        scratch = {key: stack.enter_context(open(Path(folder, key), "w+b")) for key in _PIXEL_ROWS}
        counts = dict.fromkeys(_PIXEL_ROWS, 0)
        for t in range(truth.depth.shape[1]):
            for key, row in _frame_rows(truth, t).items():
                scratch[key].write(np.ascontiguousarray(row).data)
                counts[key] += 1
        with npz_stream(path) as stream:
            for key, (channels, dtype) in _PIXEL_ROWS.items():
                shape = (*truth.size, *channels)
                scratch[key].seek(0)
                with stream.rows(key, (counts[key], *shape), dtype) as append:
                    for _ in range(counts[key]):
                        append(np.fromfile(scratch[key], dtype, int(np.prod(shape))).reshape(shape))
            for key, array in _clip_arrays(truth, fps).items():
                stream.write(key, array)


def _frames(truth: ClipTruth) -> tuple[Tensor, Tensor]:
    """World (first camera) from the scene's world (4, 4), and cam2world (T, 4, 4), float64."""
    scene_from_cam = _exact_rotation(truth.cam2world[0])
    world_from_scene = invert(scene_from_cam[0])
    return world_from_scene, world_from_scene @ scene_from_cam


def _clip_arrays(truth: ClipTruth, fps: float) -> dict[str, np.ndarray]:
    """Keys without pixels: cameras, times, objects, words."""
    frames = truth.depth.shape[1]
    world_from_scene, cam2world = _frames(truth)
    intrinsics = truth.intrinsics[0].double()
    arrays = {
        "cam2world": cam2world,
        "intrinsics": intrinsics,
        "intrinsics_source": intrinsics,
        "source_from_working": torch.eye(3, dtype=torch.float64),
        "camera_ok": torch.ones(frames, dtype=torch.bool),
        "shot": torch.zeros(frames, dtype=torch.int64),
        "frame_index": torch.arange(frames),
        "timestamps": torch.arange(frames, dtype=torch.float64) / fps,
        "object_poses": world_from_scene @ _exact_rotation(truth.pose[0]),
        "seed": truth.seed[0],
    }
    arrays |= {key: getattr(truth, name)[0] for key, name in _OBJECT_KEYS.items()}
    texts = {
        "convention": CONVENTION,
        "world": "first-camera",
        "scale": "arbitrary",
        "model": "synth",
    }
    return {k: v.numpy() for k, v in arrays.items()} | {k: np.array(v) for k, v in texts.items()}


def _frame_rows(truth: ClipTruth, t: int) -> dict[str, np.ndarray]:
    """Rows of frame t of every key with pixels; those between t and t + 1 are absent for the last frame."""
    world_from_scene, cam2world = _frames(truth)
    depth = truth.depth[0, t]
    valid = depth > 0
    own = unproject(depth.double(), truth.intrinsics[0, t].double())
    rows = {
        "points": (transform_map(cam2world[t], own) * valid[..., None]).float(),
        "confidence": TRUTH_CONFIDENCE * valid.float(),
        "valid": valid,
        "depth": depth,
        "dynamic": moving_pixels(truth, t),
        "images": truth.images[0, t].permute(1, 2, 0),
        "object_id": truth.object_id[0, t],
    }
    if t + 1 < truth.depth.shape[1]:
        rows |= _step_rows(truth, t, world_from_scene)
    return {key: row.numpy() for key, row in rows.items()}


def _step_rows(truth: ClipTruth, t: int, world_from_scene: Tensor) -> dict[str, Tensor]:
    """Scene flow and optical flow between frames t and t + 1, both ways."""
    pair = truth.pair(t, t + 1)
    shift = pair.points[0, :, 1] - pair.points[0, :, 0]
    turn = (world_from_scene @ truth.cam2world[0, t].double()).float()
    rows = {}
    for view, way, sign in ((0, "fwd", 1), (1, "bwd", -1)):
        rows[f"scene_flow_{way}"] = rotate_map(turn, sign * shift[view])
        rows[f"flow_{way}"] = pair.flow[0, view]
        rows[f"flow_{way}_valid"] = pair.visible[0, view] & pair.valid[0, view, 0]
    return rows


def moving_pixels(truth: ClipTruth, t: int) -> Tensor:
    """1 where a pixel's point moves towards a frame 1 or 4 before or after, else 0, (H, W) float32."""
    others = [t + s for s in _MOTION_STRIDES if 0 <= t + s < truth.depth.shape[1]]
    moves = [truth.moves(t, o)[0] for o in others]
    return torch.stack(moves).any(0).float() if moves else torch.zeros(truth.size)


def _exact_rotation(pose: Tensor) -> Tensor:
    """Rigid (..., 4, 4) in float64 with rotations orthonormal beyond single precision: one Newton step."""
    out = pose.to(torch.float64, copy=True)
    R = out[..., :3, :3]
    eye = torch.eye(3, dtype=torch.float64)
    out[..., :3, :3] = R @ (1.5 * eye - 0.5 * R.transpose(-1, -2) @ R)
    return out


def read_truth(path: Path) -> ClipTruth:
    """The clip (B = 1) in a file of `write_truth`; its world is the first camera. InputError without objects."""
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
    return ClipTruth(
        **fields,
        images=arrays["images"].permute(0, 1, 4, 2, 3).contiguous(),
        depth=arrays["depth"],
        object_id=arrays["object_id"],
        intrinsics=arrays["intrinsics"].float(),
        cam2world=torch.from_numpy(cam2world)[None].float(),
        pose=torch.from_numpy(poses)[None].float(),
        time=torch.from_numpy(index)[None].float(),
        seed=torch.tensor([seed]),
    )

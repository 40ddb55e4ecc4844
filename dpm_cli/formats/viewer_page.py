"""One web page that holds a scene and its viewer: still and moving points, cameras, paths, pictures, a time slider.

The page needs no server, no network and no other file. Points are 16 bit in their bounding box, colours and confidence
8 bit. Where a scene is too big for a page, the same page asks a server for its points, as floats (`served_page`).
While the view moves and the graphics card is slow the page draws the first points of each cloud: give them in no order.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.files import JSON_DAMAGE, atomic_path, reads
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.scene import PointScene

_LEVELS = 65535
_MOTION_LEVELS = 32767
_FARTHEST = 30.0
"""Points beyond this many median distances are left out: they would take the others' digits."""
_DOUBLINGS = 8.0
"""Confidence is stored as its logarithm to the base 2, in 255 steps up to this."""


@dataclass(frozen=True, eq=False)
class ViewerExtras:
    """What the viewer shows beside points and cameras."""

    pictures: Sequence[bytes]
    """A JPEG a frame."""
    paths: np.ndarray
    """(T, N, 3) world: points through the clip."""
    paths_seen: np.ndarray
    """(T, N) bool."""
    paths_colors: np.ndarray
    """(N, 3) uint8."""


def write_viewer_page(path: Path, scene: PointScene, extras: ViewerExtras) -> None:
    """Write the page of a scene that has points, atomically."""
    centre, distance = scene.cam2world[0, :3, 3], scene.distance
    still, *moving = (
        c.take(np.linalg.norm(c.points - centre, axis=1) <= _FARTHEST * distance)
        for c in (scene.still, *scene.moving)
    )
    points = np.concatenate([c.points for c in (still, *moving)])
    low = points.min(0)
    step = np.maximum((points.max(0) - low) / _LEVELS, 1e-12)
    motion = np.concatenate([_motion(c) for c in moving])
    motion_step = max(float(np.abs(motion).max(initial=0)), 1e-12) / _MOTION_LEVELS

    def places(values: np.ndarray) -> bytes:
        return np.rint(np.clip((values - low) / step, 0, _LEVELS)).astype("<u2").tobytes()

    blocks = [places(still.points), _looks(still)]
    for cloud in moving:
        steps = np.rint(_motion(cloud) / motion_step).astype("<i2")
        blocks += [places(cloud.points), steps.tobytes(), _looks(cloud)]
    seen = extras.paths_seen.astype(np.uint8)
    blocks += [places(extras.paths), seen.tobytes(), extras.paths_colors.tobytes()]
    facts = _facts(scene) | {
        "still": len(still),
        "moving": [len(c) for c in moving],
        "shown": len(still),
        "low": low.tolist(),
        "step": step.tolist(),
        "motion_step": motion_step,
        "tracks": extras.paths.shape[1],
        "pictures": [base64.b64encode(p).decode() for p in extras.pictures],
    }
    text = _page(facts, base64.b64encode(b"".join(blocks)).decode())
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def served_page(scene: PointScene) -> str:
    """The page of a scene whose points, `still` and `frame/N`, and pictures, `picture/N`, come from a server."""
    more = {"served": True, "low": [0, 0, 0], "step": [1, 1, 1], "motion_step": 1}
    return _page(_facts(scene) | more | {"shown": len(scene.still)}, "")


def served_block(cloud: PointCloud, *, moving: bool) -> bytes:
    """Points as the page asks for them: float32 places, where `moving` float32 motion, colours, confidence."""
    motion = _motion(cloud).astype("<f4").tobytes() if moving else b""
    return cloud.points.astype("<f4").tobytes() + motion + _looks(cloud)


def _facts(scene: PointScene) -> dict[str, Any]:
    """What the page knows of the scene however its points come."""
    lengths = np.concatenate([np.linalg.norm(_motion(c), axis=1) for c in scene.moving])
    moved = lengths[lengths > 0]
    near, far = scene.depth_range
    return {
        "name": scene.name,
        "model": scene.model,
        "distance": scene.distance,
        "range": [near, far],
        "fastest": float(np.quantile(moved, 0.95)) if len(moved) else 1.0,
        "first": scene.first,
        "size": list(scene.size),
        "times": scene.timestamps.tolist(),
        "cameras": scene.cam2world.reshape(-1, 16).round(7).tolist(),
        "intrinsics": scene.intrinsics[:, (0, 1, 0, 1), (0, 1, 2, 2)].tolist(),
    }


def _page(facts: dict[str, Any], points: str) -> str:
    page = files("dpm_cli.formats").joinpath("viewer.html").read_text(encoding="utf-8")
    # A name may hold "</script>".
    text = json.dumps(facts).replace("<", "\\u003c")
    return page.replace("{{POINTS}}", points).replace("{{SCENE}}", text)


def _motion(cloud: PointCloud) -> np.ndarray:
    """(N, 3), zero where nothing is known."""
    return np.zeros_like(cloud.points) if cloud.motion is None else cloud.motion


def _looks(cloud: PointCloud) -> bytes:
    """Colours and confidence of a block."""
    known = np.ones(len(cloud)) if cloud.confidence is None else cloud.confidence
    level = np.clip(np.log2(np.maximum(known, 1)) / _DOUBLINGS, 0, 1)
    return cloud.colors.tobytes() + np.rint(255 * level).astype(np.uint8).tobytes()


@reads("a viewer page of dpm", *JSON_DAMAGE)
def read_viewer_page(path: Path) -> tuple[PointScene, ViewerExtras]:
    """Read the scene of a page that `write_viewer_page` wrote, as exact as the page is.

    Raises:
        InputError: missing, or no such page.
    """
    text = path.read_text(encoding="utf-8")
    parts = dict(re.findall(r'<script type="[^"]+" id="(\w+)">(.*?)</script>', text, re.S))
    facts, data = json.loads(parts["scene"]), base64.b64decode(parts["points"])
    reader = _Blocks(data, np.array(facts["low"]), np.array(facts["step"]), facts["motion_step"])
    still = reader.cloud(facts["still"], moving=False)
    moving = [reader.cloud(count, moving=True) for count in facts["moving"]]
    frames, tracks = len(facts["times"]), facts["tracks"]
    paths = reader.places(frames * tracks).reshape(frames, tracks, 3)
    seen = reader.take(np.uint8, frames * tracks).reshape(frames, tracks) > 0
    extras = ViewerExtras(
        pictures=[base64.b64decode(p) for p in facts["pictures"]],
        paths=paths,
        paths_seen=seen,
        paths_colors=reader.take(np.uint8, 3 * tracks).reshape(-1, 3),
    )
    fx, fy, cx, cy = np.array(facts["intrinsics"]).T
    K = np.zeros((len(fx), 3, 3))
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = fx, fy, cx, cy, 1
    scene = PointScene(
        name=facts["name"],
        model=facts["model"],
        still=still,
        moving=moving,
        cam2world=np.array(facts["cameras"]).reshape(-1, 4, 4),
        intrinsics=K,
        size=(facts["size"][0], facts["size"][1]),
        timestamps=np.array(facts["times"]),
        first=facts["first"],
    )
    return scene, extras


class _Blocks:
    """Reads the binary part of a page from its start to its end."""

    def __init__(self, data: bytes, low: np.ndarray, step: np.ndarray, motion_step: float):
        self._data, self._at = data, 0
        self._low, self._step, self._motion_step = low, step, motion_step

    def take(self, kind: Any, count: int) -> np.ndarray:
        values = np.frombuffer(self._data, kind, count, offset=self._at)
        self._at += values.nbytes
        return values

    def places(self, count: int) -> np.ndarray:
        codes = self.take("<u2", 3 * count).reshape(-1, 3)
        return (codes * self._step + self._low).astype(np.float32)

    def cloud(self, count: int, *, moving: bool) -> PointCloud:
        points = self.places(count)
        steps = self.take("<i2", 3 * count).reshape(-1, 3) if moving else None
        colors = self.take(np.uint8, 3 * count).reshape(-1, 3)
        level = self.take(np.uint8, count).astype(np.float32)
        return PointCloud(
            points,
            colors,
            confidence=2 ** (level / 255 * np.float32(_DOUBLINGS)),
            motion=None if steps is None else (steps * self._motion_step).astype(np.float32),
        )

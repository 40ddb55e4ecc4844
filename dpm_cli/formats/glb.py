"""glTF 2.0 binary (.glb): coloured points, points that show for one frame each, and a moving camera.

glTF axes are x right, y up, z backward, in the world and of cameras: OpenCV's turned about x. Core glTF cannot switch
a node on and off, so what shows for one frame has a scale that steps from 0 to 1 and back.
"""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.scene import FLIP, PointScene

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _BYTE = 5126, 5121
_NUMPY = {_FLOAT: "<f4", _BYTE: "u1"}
_WIDTH = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_POINTS, _VERTICES = 0, 34962


@dataclass(eq=False)
class _Document:
    """JSON and binary part while they grow."""

    json: dict[str, Any]
    data: bytearray = field(default_factory=bytearray)

    def accessor(
        self, values: np.ndarray, kind: str, *, normalized=False, bounds=False, vertices=False
    ) -> int:
        """Add an array (N, width of kind); its number."""
        component = _BYTE if values.dtype == np.uint8 else _FLOAT
        start = len(self.data)
        self.data += np.ascontiguousarray(values, _NUMPY[component]).tobytes()
        self.data += bytes(-len(self.data) % 4)
        views, accessors = self.json["bufferViews"], self.json["accessors"]
        view = {"buffer": 0, "byteOffset": start, "byteLength": len(self.data) - start}
        views.append(view | {"target": _VERTICES} if vertices else view)
        entry = {
            "bufferView": len(views) - 1,
            "componentType": component,
            "count": len(values),
            "type": kind,
        }
        if normalized:
            entry["normalized"] = True
        if bounds:
            flat = values.astype(np.float32).reshape(len(values), -1)
            entry |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        accessors.append(entry)
        return len(accessors) - 1

    def node(self, **what: Any) -> int:
        """Add a node to the scene; its number."""
        self.json["nodes"].append(what)
        self.json["scenes"][0]["nodes"].append(len(self.json["nodes"]) - 1)
        return len(self.json["nodes"]) - 1

    def points(self, name: str, cloud: PointCloud) -> int:
        """Add a node with points."""
        alpha = np.full((len(cloud), 1), 255, np.uint8)
        colours = np.hstack((cloud.colors, alpha))
        attributes = {
            "POSITION": self.accessor(cloud.points @ FLIP, "VEC3", bounds=True, vertices=True),
            "COLOR_0": self.accessor(colours, "VEC4", normalized=True, vertices=True),
        }
        meshes = self.json["meshes"]
        meshes.append({"name": name, "primitives": [{"attributes": attributes, "mode": _POINTS}]})
        return self.node(name=name, mesh=len(meshes) - 1)

    def animate(self, node: int, path: str, times: int, values: int, how: str) -> None:
        """Let a node's property go through accessors `times` and `values`."""
        animation = self.json["animations"][0]
        animation["samplers"].append({"input": times, "output": values, "interpolation": how})
        target = {"node": node, "path": path}
        animation["channels"].append({"sampler": len(animation["samplers"]) - 1, "target": target})


def write_glb(path: Path, scene: PointScene, generator: str) -> None:
    """Write atomically; time starts at 0 with the first frame.

    The one camera has the median focal lengths and no shift, for core glTF has neither zoom nor shift.
    """
    across, up = (
        float(side / 2 / np.median(scene.intrinsics[:, i, i]))
        for i, side in enumerate(scene.size[::-1])
    )
    document = _Document(
        {
            "asset": {"version": "2.0", "generator": generator, "extras": {"model": scene.model}},
            "extras": {"name": scene.name, "size": list(scene.size)},
            "scene": 0,
            "scenes": [{"nodes": []}],
            "nodes": [],
            "meshes": [],
            "cameras": [
                {
                    "type": "perspective",
                    "perspective": {
                        "yfov": 2 * float(np.arctan(up)),
                        "aspectRatio": across / up,
                        "znear": 0.01,
                    },
                }
            ],
            "animations": [{"name": "clip", "samplers": [], "channels": []}],
            "bufferViews": [],
            "accessors": [],
        }
    )
    times = (scene.timestamps - scene.timestamps[0]).astype(np.float32)
    if len(scene.still):
        document.points("still", scene.still)
    _add_camera(document, scene, times)
    for t, cloud in enumerate(scene.moving):
        if len(cloud):
            _add_frame(document, f"frame_{t:06d}", cloud, times, t)
    _write(path, document)


def _add_camera(document: _Document, scene: PointScene, times: np.ndarray) -> None:
    """A camera node that goes along the path."""
    turns = Rotation.from_matrix(FLIP @ scene.cam2world[:, :3, :3] @ FLIP).as_quat()
    # The same rotation has two quaternions: neighbours must have that on the same side.
    turns[1:] *= np.cumprod(np.where((turns[1:] * turns[:-1]).sum(1) < 0, -1, 1))[:, None]
    places = scene.cam2world[:, :3, 3] @ FLIP
    node = document.node(
        name="camera", camera=0, translation=places[0].tolist(), rotation=turns[0].tolist()
    )
    clock = document.accessor(times, "SCALAR", bounds=True)
    for path, values, kind in (("translation", places, "VEC3"), ("rotation", turns, "VEC4")):
        document.animate(node, path, clock, document.accessor(values, kind), "LINEAR")


def _add_frame(
    document: _Document, name: str, cloud: PointCloud, times: np.ndarray, t: int
) -> None:
    """Points that show from time `t` to the next."""
    node = document.points(name, cloud)
    if t > 0:
        document.json["nodes"][node]["scale"] = [0.0, 0.0, 0.0]
    last = t + 1 == len(times)
    # The first frame needs no key before it, the last none after it.
    some = slice(0 if t > 0 else 1, 2 if last else 3)
    keys = (0.0, times[t], times[t] if last else times[t + 1])[some]
    shown = (0.0, 1.0, 0.0)[some]
    clock = document.accessor(np.array(keys, np.float32), "SCALAR", bounds=True)
    scale = np.repeat(np.array(shown, np.float32)[:, None], 3, 1)
    document.animate(node, "scale", clock, document.accessor(scale, "VEC3"), "STEP")


def _write(path: Path, document: _Document) -> None:
    data = bytes(document.data)
    document.json["buffers"] = [{"byteLength": len(data)}]
    text = json.dumps(document.json).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(data)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<III", _MAGIC, 2, total))
        file.write(struct.pack("<II", len(text), _JSON) + text)
        file.write(struct.pack("<II", len(data), _BIN) + data)


def read_glb(path: Path) -> PointScene:
    """Read what `write_glb` wrote.

    Raises:
        InputError: missing, or no such file.
    """
    try:
        raw = path.read_bytes()
        magic, version, total = struct.unpack_from("<III", raw)
        if (magic, version, total) != (_MAGIC, 2, len(raw)):
            raise InputError(f"{path} is no whole glTF 2.0 binary")
        size = struct.unpack_from("<I", raw, 12)[0]
        return _scene(json.loads(raw[20 : 20 + size]), raw[28 + size :])
    except (OSError, ValueError, LookupError, StopIteration, struct.error) as error:
        raise InputError(f"{path} cannot be read as a scene of dpm in glTF") from error


def _scene(facts: dict, data: bytes) -> PointScene:
    """The scene of a file's JSON and binary part; LookupError or StopIteration where it is another program's."""
    camera = next(n for n, node in enumerate(facts["nodes"]) if "camera" in node)
    clouds = {n["name"]: _cloud(facts, data, n) for n in facts["nodes"] if "mesh" in n}
    animation = facts["animations"][0]
    path = {
        channel["target"]["path"]: animation["samplers"][channel["sampler"]]
        for channel in animation["channels"]
        if channel["target"]["node"] == camera
    }
    times = _array(facts, data, path["translation"]["input"]).ravel()
    poses = np.tile(np.eye(4), (len(times), 1, 1))
    turns = Rotation.from_quat(_array(facts, data, path["rotation"]["output"])).as_matrix()
    poses[:, :3, :3] = FLIP @ turns @ FLIP
    poses[:, :3, 3] = _array(facts, data, path["translation"]["output"]) @ FLIP
    height, width = facts["extras"]["size"]
    lens = facts["cameras"][0]["perspective"]
    up = np.tan(lens["yfov"] / 2)
    fx, fy = width / 2 / (up * lens["aspectRatio"]), height / 2 / up
    K = np.array([[fx, 0, (width - 1) / 2], [0, fy, (height - 1) / 2], [0, 0, 1]])
    nothing = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    return PointScene(
        name=facts["extras"]["name"],
        model=facts["asset"]["extras"]["model"],
        still=clouds.get("still", nothing),
        moving=[clouds.get(f"frame_{t:06d}", nothing) for t in range(len(times))],
        cam2world=poses,
        intrinsics=np.tile(K, (len(times), 1, 1)),
        size=(height, width),
        timestamps=times.astype(np.float64),
    )


def _cloud(facts: dict, data: bytes, node: dict) -> PointCloud:
    found = facts["meshes"][node["mesh"]]["primitives"][0]["attributes"]
    points = _array(facts, data, found["POSITION"]) @ FLIP
    return PointCloud(points.astype(np.float32), _array(facts, data, found["COLOR_0"])[:, :3])


def _array(facts: dict, data: bytes, number: int) -> np.ndarray:
    """Values (N, width) of an accessor."""
    accessor = facts["accessors"][number]
    start = facts["bufferViews"][accessor["bufferView"]]["byteOffset"]
    width = _WIDTH[accessor["type"]]
    values = np.frombuffer(
        data, _NUMPY[accessor["componentType"]], accessor["count"] * width, offset=start
    )
    return values.reshape(-1, width)

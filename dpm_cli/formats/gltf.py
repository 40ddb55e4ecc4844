"""glTF 2.0 binary as a container: accessors, nodes, points, triangles and one animation, written and read.

glTF axes are x right, y up, z backward: OpenCV's turned about x. What is added here is turned on the way.
"""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import JSON_DAMAGE, atomic_path, reads
from dpm_cli.formats.mesh import TriangleMesh
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.scene import FLIP

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_FLOAT, _BYTE, _INTEGER = 5126, 5121, 5125
_NUMPY = {_FLOAT: "<f4", _BYTE: "u1", _INTEGER: "<u4"}
_WIDTH = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_POINTS, _TRIANGLES = 0, 4
_VERTICES, _INDICES = 34962, 34963


def _empty() -> dict[str, Any]:
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": []}],
        "nodes": [],
        "meshes": [],
        "bufferViews": [],
        "accessors": [],
    }


@dataclass(eq=False)
class GltfDocument:
    """JSON and binary part while they grow."""

    json: dict[str, Any] = field(default_factory=_empty)
    data: bytearray = field(default_factory=bytearray)

    def accessor(
        self, values: np.ndarray, kind: str, *, normalized=False, bounds=False, target: int = 0
    ) -> int:
        """Add an array (N, width of kind) of uint8, uint32 or floats; its number."""
        component = {"uint8": _BYTE, "uint32": _INTEGER}.get(values.dtype.name, _FLOAT)
        start = len(self.data)
        self.data += np.ascontiguousarray(values, _NUMPY[component]).tobytes()
        self.data += bytes(-len(self.data) % 4)
        views, accessors = self.json["bufferViews"], self.json["accessors"]
        view = {"buffer": 0, "byteOffset": start, "byteLength": len(self.data) - start}
        views.append(view | {"target": target} if target else view)
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
        """Add a node with points; its number."""
        return self._mesh(name, self._vertices(cloud.points, cloud.colors, cloud.normals), _POINTS)

    def triangles(self, name: str, mesh: TriangleMesh) -> int:
        """Add a node with a mesh of triangles, seen from both sides; its number."""
        self.json.setdefault("materials", []).append(
            {"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0}}
        )
        indices = mesh.triangles.astype(np.uint32).reshape(-1)
        return self._mesh(
            name,
            self._vertices(mesh.vertices, mesh.colors, mesh.normals),
            _TRIANGLES,
            indices=self.accessor(indices, "SCALAR", target=_INDICES),
            material=len(self.json["materials"]) - 1,
        )

    def animate(self, node: int, path: str, times: int, values: int, how: str) -> None:
        """Let a node's property go through accessors `times` and `values`."""
        animations = self.json.setdefault("animations", [])
        if not animations:
            animations.append({"name": "clip", "samplers": [], "channels": []})
        samplers, channels = animations[0]["samplers"], animations[0]["channels"]
        samplers.append({"input": times, "output": values, "interpolation": how})
        target = {"node": node, "path": path}
        channels.append({"sampler": len(samplers) - 1, "target": target})

    def write(self, path: Path) -> None:
        """Write atomically."""
        data = bytes(self.data)
        self.json["buffers"] = [{"byteLength": len(data)}]
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + len(data)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(struct.pack("<III", _MAGIC, 2, total))
            file.write(struct.pack("<II", len(text), _JSON) + text)
            file.write(struct.pack("<II", len(data), _BIN) + data)

    def array(self, number: int) -> np.ndarray:
        """Values (N, width) of an accessor."""
        accessor = self.json["accessors"][number]
        start = self.json["bufferViews"][accessor["bufferView"]]["byteOffset"]
        width = _WIDTH[accessor["type"]]
        kind, count = _NUMPY[accessor["componentType"]], accessor["count"] * width
        return np.frombuffer(self.data, kind, count, offset=start).reshape(-1, width)

    def cloud(self, node: dict[str, Any]) -> PointCloud:
        """Points of a node, turned back to OpenCV's axes."""
        found = self.json["meshes"][node["mesh"]]["primitives"][0]["attributes"]
        positions = self.array(found["POSITION"])
        if not np.isfinite(positions).all():
            raise ValueError("positions that are not finite")
        points = (positions @ FLIP).astype(np.float32)
        return PointCloud(points, self.array(found["COLOR_0"])[:, :3])

    def _vertices(
        self, points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None
    ) -> dict[str, int]:
        alpha = np.full((len(colors), 1), 255, np.uint8)
        colours = np.hstack((colors, alpha))
        attributes = {
            "POSITION": self.accessor(points @ FLIP, "VEC3", bounds=True, target=_VERTICES),
            "COLOR_0": self.accessor(colours, "VEC4", normalized=True, target=_VERTICES),
        }
        if normals is not None:
            attributes["NORMAL"] = self.accessor(normals @ FLIP, "VEC3", target=_VERTICES)
        return attributes

    def _mesh(self, name: str, attributes: dict[str, int], mode: int, **more: int) -> int:
        primitive = {"attributes": attributes, "mode": mode, **more}
        self.json["meshes"].append({"name": name, "primitives": [primitive]})
        return self.node(name=name, mesh=len(self.json["meshes"]) - 1)


@reads("glTF 2.0 binary", *JSON_DAMAGE)
def read_gltf(path: Path) -> GltfDocument:
    """Read a binary glTF file as `GltfDocument.write` writes it.

    Raises:
        InputError: missing, not glTF 2.0 binary, or truncated.
    """
    raw = path.read_bytes()
    magic, version, total = struct.unpack_from("<III", raw)
    if (magic, version, total) != (_MAGIC, 2, len(raw)):
        raise InputError(f"{path} is no whole glTF 2.0 binary")
    size = struct.unpack_from("<I", raw, 12)[0]
    return GltfDocument(json.loads(raw[20 : 20 + size]), bytearray(raw[28 + size :]))

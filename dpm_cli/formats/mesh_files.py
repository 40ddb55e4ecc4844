"""Triangle meshes as PLY (binary little endian), OBJ (text) and glTF binary; the suffix decides.

PLY and OBJ keep dpm's world axes (OpenCV), glTF has its own. OBJ has no colours of vertices in its standard; three more
numbers on a `v` line are what MeshLab, Blender, Open3D and others read.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dpm_cli.errors import InputError, UsageError
from dpm_cli.files import JSON_DAMAGE, atomic_path, reads
from dpm_cli.formats.gltf import GltfDocument, read_gltf
from dpm_cli.formats.mesh import TriangleMesh
from dpm_cli.formats.scene import FLIP

_VERTEX = np.dtype([("xyz", "<f4", 3), ("normal", "<f4", 3), ("rgb", "u1", 3)])
_FACE = np.dtype([("count", "u1"), ("vertices", "<i4", 3)])
_PLY_HEADER = """ply
format binary_little_endian 1.0
comment {comment}
element vertex {vertices}
property float x
property float y
property float z
property float nx
property float ny
property float nz
property uchar red
property uchar green
property uchar blue
element face {faces}
property list uchar int vertex_indices
end_header
"""


def write_mesh(path: Path, mesh: TriangleMesh, comment: str = "dpm") -> None:
    """Write atomically in the format of the suffix.

    Raises:
        UsageError: another suffix.
    """
    if path.suffix not in _WRITERS:
        raise UsageError(f"{path}: a mesh is written as {', '.join(_WRITERS)}")
    _WRITERS[path.suffix](path, mesh, comment)


@reads("a mesh of dpm", *JSON_DAMAGE, FloatingPointError)
@np.errstate(over="raise", invalid="raise")
def read_mesh(path: Path) -> TriangleMesh:
    """Read what `write_mesh` wrote.

    Raises:
        InputError: missing, another suffix, or no such file.
    """
    if path.suffix not in _READERS:
        raise InputError(f"{path}: a mesh is read from {', '.join(_READERS)}")
    return _READERS[path.suffix](path)


def _write_ply(path: Path, mesh: TriangleMesh, comment: str) -> None:
    vertices, faces = np.empty(len(mesh.vertices), _VERTEX), np.empty(len(mesh.triangles), _FACE)
    vertices["xyz"], vertices["normal"], vertices["rgb"] = mesh.vertices, mesh.normals, mesh.colors
    faces["count"], faces["vertices"] = 3, mesh.triangles
    header = _PLY_HEADER.format(comment=comment, vertices=len(vertices), faces=len(faces))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header.encode("ascii", "replace"))
        vertices.tofile(file)
        faces.tofile(file)


def _read_ply(path: Path) -> TriangleMesh:
    with path.open("rb") as file:
        lines = itertools.takewhile(b"end_header\n".__ne__, file)
        counts = [int(w[2]) for w in map(bytes.split, lines) if w[:1] == [b"element"]]
        vertices, faces = _take(file, _VERTEX, counts[0]), _take(file, _FACE, counts[1])
    return TriangleMesh(vertices["xyz"], faces["vertices"], vertices["rgb"], vertices["normal"])


def _take(file: BinaryIO, kind: np.dtype, count: int) -> np.ndarray:
    """The next `count` records; ValueError where there are fewer."""
    return np.frombuffer(file.read(count * kind.itemsize), kind, count)


def _write_obj(path: Path, mesh: TriangleMesh, comment: str) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"# {comment}\n")
        np.savetxt(
            file, np.hstack((mesh.vertices, mesh.colors / 255)), "v" + " %.7g" * 3 + " %.4f" * 3
        )
        np.savetxt(file, mesh.normals, "vn %.4f %.4f %.4f")
        # Vertices and normals are counted from 1, and each vertex has its own normal.
        np.savetxt(file, np.repeat(mesh.triangles + 1, 2, axis=1), "f" + " %d//%d" * 3)


def _read_obj(path: Path) -> TriangleMesh:
    rows: dict[str, list[list[str]]] = {"v": [], "vn": [], "f": []}
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *values = line.split()
        if kind in rows:
            rows[kind].append(values)
    vertices = np.array(rows["v"], np.float64).reshape(-1, 6)
    if not (np.abs(vertices[:, 3:]) <= 1).all():
        raise ValueError("a colour is not 0 to 1")
    if len(rows["vn"]) != len(vertices):
        raise ValueError("not one normal a vertex")
    corners = [[int(corner.split("/")[0]) - 1 for corner in face] for face in rows["f"]]
    return TriangleMesh(
        vertices=vertices[:, :3].astype(np.float32),
        triangles=np.array(corners, np.int32).reshape(-1, 3),
        colors=np.rint(vertices[:, 3:] * 255).astype(np.uint8),
        normals=np.array(rows["vn"], np.float32).reshape(-1, 3),
    )


def _write_glb(path: Path, mesh: TriangleMesh, comment: str) -> None:
    document = GltfDocument()
    document.json["asset"]["generator"] = comment
    document.triangles("mesh", mesh)
    document.write(path)


def _read_glb(path: Path) -> TriangleMesh:
    document = read_gltf(path)
    primitive = document.json["meshes"][0]["primitives"][0]
    found = primitive["attributes"]
    return TriangleMesh(
        vertices=(document.array(found["POSITION"]) @ FLIP).astype(np.float32),
        triangles=document.array(primitive["indices"]).reshape(-1, 3).astype(np.int32),
        colors=document.array(found["COLOR_0"])[:, :3],
        normals=(document.array(found["NORMAL"]) @ FLIP).astype(np.float32),
    )


_WRITERS: dict[str, Callable[[Path, TriangleMesh, str], None]] = {
    ".ply": _write_ply,
    ".obj": _write_obj,
    ".glb": _write_glb,
}
_READERS: dict[str, Callable[[Path], TriangleMesh]] = {
    ".ply": _read_ply,
    ".obj": _read_obj,
    ".glb": _read_glb,
}

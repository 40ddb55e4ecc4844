"""Point clouds as binary little-endian PLY with float coordinates, colours and the attributes that dpm adds.

Vertex properties in order: `float x y z`, `float nx ny nz` where normals are given, `uchar red green blue`, `float
confidence`, `uchar dynamic`, `float time`. Written from one numpy structured array; Open3D's and plyfile's writers are
slower, and the one writes doubles while the other is GPL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path, reads

_NUMPY_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "<i2",
    "int16": "<i2",
    "ushort": "<u2",
    "uint16": "<u2",
    "int": "<i4",
    "int32": "<i4",
    "uint": "<u4",
    "uint32": "<u4",
    "float": "<f4",
    "float32": "<f4",
    "double": "<f8",
    "float64": "<f8",
}
_PLY_TYPES = {"<f4": "float", "|u1": "uchar"}


@dataclass(frozen=True, eq=False)
class PointCloud:
    """N coloured points; optional attributes are None where the file has none."""

    points: np.ndarray
    """(N, 3) float32, world."""
    colors: np.ndarray
    """(N, 3) uint8 RGB."""
    confidence: np.ndarray | None = None
    """(N,) float32."""
    dynamic: np.ndarray | None = None
    """(N,) uint8, 255 = moves by itself."""
    normals: np.ndarray | None = None
    """(N, 3) float32; zeros where a reader insists on normals that nobody knows."""
    time: np.ndarray | None = None
    """(N,) float32."""
    motion: np.ndarray | None = None
    """(N, 3) float32 scene flow to the next frame, world; not in files of this format."""

    def __len__(self) -> int:
        return len(self.points)

    def take(self, index: np.ndarray) -> "PointCloud":
        """The points of an index or boolean mask."""
        optional = (self.confidence, self.dynamic, self.normals, self.time, self.motion)
        return PointCloud(
            self.points[index],
            self.colors[index],
            *(None if a is None else a[index] for a in optional),
        )

    def mixed(self) -> "PointCloud":
        """The same points in no order, so that the first of them are a sample of all."""
        return self.take(np.random.default_rng(0).permutation(len(self)))


def _columns(cloud: PointCloud) -> list[tuple[str, str, np.ndarray]]:
    """Name, numpy type and values of every vertex property, in file order."""
    columns = [(name, "<f4", cloud.points[:, i]) for i, name in enumerate("xyz")]
    if cloud.normals is not None:
        columns += [(f"n{name}", "<f4", cloud.normals[:, i]) for i, name in enumerate("xyz")]
    colors = ("red", "green", "blue")
    columns += [(name, "|u1", cloud.colors[:, i]) for i, name in enumerate(colors)]
    if cloud.confidence is not None:
        columns.append(("confidence", "<f4", cloud.confidence))
    if cloud.dynamic is not None:
        columns.append(("dynamic", "|u1", cloud.dynamic))
    if cloud.time is not None:
        columns.append(("time", "<f4", cloud.time))
    return columns


def write_ply(path: Path, cloud: PointCloud, comments: Sequence[str] = ()) -> None:
    """Write a cloud atomically; `comments` become header lines."""
    columns = _columns(cloud)
    table = np.empty(len(cloud), [(name, kind) for name, kind, _ in columns])
    for name, _, values in columns:
        table[name] = values
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {text}" for text in comments)]
    lines += [f"element vertex {len(cloud)}"]
    lines += [f"property {_PLY_TYPES[kind]} {name}" for name, kind, _ in columns]
    lines += ["end_header", ""]
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(lines).encode("ascii", "replace"))
        table.tofile(file)


@reads("PLY")
def read_ply_table(path: Path) -> tuple[np.ndarray, list[str]]:
    """Vertices as a structured array, and the header's comments.

    Raises:
        InputError: missing, not PLY, not binary little endian, or shorter than its header says.
    """
    with open(path, "rb") as file:
        kinds, count, comments = _read_header(path, iter(file.readline, b""))
        kind = np.dtype(kinds)
        there = (path.stat().st_size - file.tell()) // max(kind.itemsize, 1)
        if not 0 <= count <= there:
            raise InputError(f"{path} is truncated: {there} of {count} points")
        return np.fromfile(file, kind, count), comments


def _read_header(path: Path, lines) -> tuple[list[tuple[str, str]], int, list[str]]:
    if next(lines, b"").strip() != b"ply":
        raise InputError(f"{path} is not a PLY file")
    kinds: list[tuple[str, str]] = []
    comments: list[str] = []
    element, count = "", 0
    for raw in lines:
        words = raw.decode("ascii", "replace").split()
        if words[:1] == ["format"] and words[1] != "binary_little_endian":
            raise InputError(f"{path} is {words[1]} PLY: only binary_little_endian is read")
        if words[:1] == ["comment"]:
            comments.append(raw.decode("ascii", "replace").strip()[len("comment ") :])
        if words[:1] == ["element"]:
            element = words[1]
            count = int(words[2]) if element == "vertex" else count
        if words[:1] == ["property"] and element == "vertex":
            kinds.append((words[2], _NUMPY_TYPES[words[1]]))
        if words == ["end_header"]:
            return kinds, count, comments
    raise InputError(f"{path} is truncated: its header does not end")


def read_ply(path: Path) -> PointCloud:
    """Read a cloud as `write_ply` writes it.

    Raises:
        InputError: as `read_ply_table`, or coordinates or colours are missing.
    """
    table, _ = read_ply_table(path)
    names = table.dtype.names or ()
    if not {"x", "y", "z", "red", "green", "blue"} <= set(names):
        raise InputError(f"{path} has no coloured points: it needs x y z red green blue")

    def stacked(*columns: str) -> np.ndarray:
        return np.stack([table[name] for name in columns], -1)

    return PointCloud(
        points=stacked("x", "y", "z").astype(np.float32),
        colors=stacked("red", "green", "blue"),
        confidence=table["confidence"].copy() if "confidence" in names else None,
        dynamic=table["dynamic"].copy() if "dynamic" in names else None,
        normals=stacked("nx", "ny", "nz") if "nx" in names else None,
        time=table["time"].copy() if "time" in names else None,
    )

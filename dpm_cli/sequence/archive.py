"""Frames inside one npz file with the keys of CONVENTIONS.md, read row by row.

numpy would load a whole (T, H, W, 3) array to give one frame. Members that are stored uncompressed, as dpm writes them,
lie contiguously in the file, so a row is one seek and one read; compressed members are loaded once and kept.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.checked_array import array_header
from dpm_cli.errors import InputError
from dpm_cli.files import reads
from dpm_cli.formats.npz_read import load_npz
from dpm_cli.sequence.frame import FRAME_KEYS, MOTION_KEYS
from dpm_cli.sequence.header import HEADER_KEYS, SequenceHeader


@dataclass(frozen=True)
class _Member:
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    """Where the array's bytes start in the file; -1 where the member is compressed or in Fortran order."""


class Archive:
    """Rows of the arrays of an npz file."""

    def __init__(self, path: Path):
        self.path = path
        self._loaded: dict[str, np.ndarray] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = {i.filename[:-4]: _inspect(archive, i) for i in archive.infolist()}
        except RuntimeError as error:  # encrypted, of another version, or packed otherwise
            raise ValueError(str(error)) from error

    def array(self, key: str) -> np.ndarray:
        """The whole array."""
        return load_npz(self.path, (key,))[key]

    def row(self, key: str, index: int) -> np.ndarray:
        """Row `index` along the first axis."""
        member = self.members[key]
        if member.offset < 0:
            if key not in self._loaded:
                self._loaded[key] = self.array(key)
            return self._loaded[key][index]
        count = int(np.prod(member.shape[1:]))
        with open(self.path, "rb") as file:
            file.seek(member.offset + index * count * member.dtype.itemsize)
            return np.fromfile(file, member.dtype, count).reshape(member.shape[1:])


def _inspect(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    with archive.open(info) as member:
        shape, fortran, dtype = array_header(member)
        header_bytes = member.tell()
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject or size != info.file_size - header_bytes:
        raise ValueError(f"{info.filename} does not hold what its header says")
    if info.compress_type != zipfile.ZIP_STORED or fortran:
        return _Member(shape, dtype, -1)
    with open(str(archive.filename), "rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = np.fromfile(file, "<u2", 2).tolist()
    return _Member(shape, dtype, info.header_offset + 30 + name + extra + header_bytes)


class ArchiveFrames:
    """Frames of an npz file."""

    def __init__(self, archive: Archive):
        self.archive = archive
        self.count = archive.members["depth"].shape[0]

    def read(self, t: int, keys: tuple[str, ...] = FRAME_KEYS) -> dict[str, np.ndarray]:
        """Those of `keys` that frame `t` has."""
        rows = {key: bulk_row(key, t, self.count) for key in keys}
        return {
            key: self.archive.row(row[0], row[1])
            for key, row in rows.items()
            if row is not None and row[0] in self.archive.members
        }


class ArrayFrames:
    """Frames of arrays in memory with the keys of CONVENTIONS.md."""

    def __init__(self, arrays: dict[str, Any]):
        self.arrays = arrays

    def read(self, t: int, keys: tuple[str, ...] = FRAME_KEYS) -> dict[str, np.ndarray]:
        """Those of `keys` that frame `t` has."""
        rows = {key: bulk_row(key, t, len(self.arrays["depth"])) for key in keys}
        return {
            key: self.arrays[row[0]][row[1]]
            for key, row in rows.items()
            if row is not None and row[0] in self.arrays
        }


def bulk_row(key: str, t: int, count: int) -> tuple[str, int] | None:
    """Key of CONVENTIONS.md and row that hold `key` of frame `t` of `count`, None where the frame has none."""
    if key == "image":
        return "images", t
    if "_bwd" in key:
        return (key, t - 1) if t > 0 else None
    if "_fwd" in key:
        return (key, t) if t < count - 1 else None
    return key, t


@reads("a result of dpm")
def open_archive(path: Path) -> tuple[SequenceHeader, ArchiveFrames]:
    """Header and frames of an npz file.

    Raises:
        InputError: it is no npz file or lacks a key of CONVENTIONS.md.
    """
    archive = Archive(path)
    if not {"depth", "images", *HEADER_KEYS} <= archive.members.keys():
        raise InputError(f"{path} is not a dpm result: it needs the keys depth, images and cameras")
    height, width = archive.members["depth"].shape[1:]
    small = {
        key: archive.array(key)
        for key, m in archive.members.items()
        if len(m.shape) < 2 or key in _MATRICES
    }
    header = SequenceHeader.from_arrays(small, (height, width))
    for key, member in archive.members.items():
        rows = len(header) - (key in MOTION_KEYS)
        shown = key in MOTION_KEYS or key in FRAME_KEYS or key in ("images", "points")
        if shown and member.shape[:3] != (rows, height, width):
            raise InputError(
                f"{path} holds {key} of shape {member.shape}, not of its {len(header)} frames"
            )
    return header, ArchiveFrames(archive)


_MATRICES = ("cam2world", "intrinsics", "source_from_working")

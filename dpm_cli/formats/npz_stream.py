"""Write an npz file array by array and row by row, so that no array needs to fit into memory.

An npz is a zip of npy members. Each member is stored uncompressed with its final shape written first; zip64 is on, so
members and file may exceed 4 GB. Every numpy reads the result with `allow_pickle=False`.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dpm_cli.files import atomic_path


class NpzStream:
    """An npz file under construction; get one from `npz_stream`."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive

    def write(self, key: str, array: np.ndarray) -> None:
        """Add a whole array."""
        with self.rows(key, array.shape, array.dtype) as append:
            append(array)

    @contextmanager
    def rows(
        self, key: str, shape: tuple[int, ...], dtype: np.typing.DTypeLike
    ) -> Iterator[Callable[[np.ndarray], None]]:
        """Add an array of final `shape` in pieces along its first axis: yields `append(piece)`.

        Raises:
            ValueError: the pieces do not make up the shape.
        """
        dtype = np.dtype(dtype)
        expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        written = 0
        info = zipfile.ZipInfo(f"{key}.npy")
        with self._archive.open(info, "w", force_zip64=True) as member:
            header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(member, header)  # pyright: ignore

            def append(piece: np.ndarray) -> None:
                nonlocal written
                data = np.ascontiguousarray(piece, dtype).tobytes()
                written += len(data)
                member.write(data)

            yield append
        if written != expected:
            raise ValueError(f"{key}: {written} bytes written, shape {shape} needs {expected}")


@contextmanager
def npz_stream(path: Path) -> Iterator[NpzStream]:
    """Open an npz file for writing; it appears under its name when the block ends without an error."""
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        yield NpzStream(archive)

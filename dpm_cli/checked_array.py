"""Arrays on disk as numpy's own files with a checksum behind: as quick to read, and a torn or flipped one is found."""

import math
import zlib
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np

from dpm_cli.files import atomic_path

_CHECKSUM_BYTES = 4
_PARSING = Lock()
"""Held while numpy parses a header. It does so with `ast`, and some versions of Python 3.11 and 3.12 fail now and then
where two threads are in there at a time: "AST constructor recursion depth mismatch" (CPython issue 106905)."""


def save_checked(path: Path, array: np.ndarray) -> None:
    """Write `array` to `path` (.npy), atomically; `numpy.load` reads it and does not see the checksum."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)
        file.write(_checksum(array))


def array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and type from the start of an npy file; safe in threads.

    Raises:
        ValueError: it is none.
    """
    with _PARSING:
        if np.lib.format.read_magic(file) == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if any(side < 0 for side in shape):
        raise ValueError("a negative side")
    return shape, fortran, dtype


def load_array(path: Path) -> np.ndarray:
    """An array that `save_checked` wrote; its checksum is not looked at. Safe in threads, unlike `numpy.load`."""
    with open(path, "rb") as file:
        shape, _, dtype = array_header(file)
        return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file of ours; safe in threads."""
    with _PARSING, np.load(path, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def is_sound_array(path: Path) -> bool:
    """Whether `path` holds the whole array that `save_checked` wrote."""
    try:
        with open(path, "rb") as file:
            array = np.load(file, allow_pickle=False)
            return file.read() == _checksum(array)
    except (OSError, ValueError, EOFError):
        return False


def _checksum(array: np.ndarray) -> bytes:
    return zlib.crc32(array.tobytes()).to_bytes(_CHECKSUM_BYTES, "little")

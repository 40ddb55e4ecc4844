"""Arrays on disk as numpy's own files with a checksum behind: as quick to read, and a torn or flipped one is found."""

import zlib
from pathlib import Path

import numpy as np

from dpm_cli.files import atomic_path

_CHECKSUM_BYTES = 4


def save_checked(path: Path, array: np.ndarray) -> None:
    """Write `array` to `path` (.npy), atomically; `numpy.load` reads it and does not see the checksum."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)
        file.write(_checksum(array))


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

"""npz files of strangers: no pickles, no array bigger than what the file holds, nothing that unpacks without bound."""

from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np

from dpm_cli.checked_array import array_header
from dpm_cli.errors import InputError

MOST_BYTES = 2**33
"""Unpacked size of an array that is read as a whole, at most."""


def load_npz(path: Path, keys: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays by name; those of `keys` that the file has, None = all.

    Raises:
        InputError: an array is not what its header says, is of objects, or unpacks to more than `MOST_BYTES`.
        OSError, ValueError, BadZipFile, zlib.error: it is no npz file, or damaged (`files.reads` makes one of all).
    """
    wanted = None if keys is None else set(keys)
    found = {}
    try:
        with ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if wanted is None or name in wanted:
                    found[name] = _load(archive, info, path)
    except RuntimeError as error:  # encrypted, of another version, or packed otherwise
        raise ValueError(str(error)) from error
    return found


def _load(archive: ZipFile, info: ZipInfo, path: Path) -> np.ndarray:
    with archive.open(info) as member:
        shape, fortran, dtype = array_header(member)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if dtype.hasobject:
            raise InputError(f"{path}: {info.filename} holds Python objects, which are never read")
        if size != info.file_size - member.tell():
            raise InputError(f"{path}: {info.filename} is not as big as its header says")
        if size > MOST_BYTES:
            raise InputError(
                f"{path}: {info.filename} unpacks to {size} bytes, more than {MOST_BYTES}"
            )
        values = np.frombuffer(member.read(), dtype)
    return values.reshape(shape[::-1]).T.copy() if fortran else values.reshape(shape).copy()

"""TFRecord files and the `tf.train.Example` messages in them, without TensorFlow.

A record is: length (8 bytes), checksum (4), data, checksum (4). An Example is a protocol buffer: a map from feature
names to lists of bytes, floats or integers.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.errors import InputError

Feature = list[bytes] | np.ndarray
RECORD_HEAD, RECORD_TAIL = 12, 4
"""Bytes before and after the data of a record."""


def read_records(path: Path) -> Iterator[bytes]:
    """The data of each record of a file.

    Raises:
        InputError: a record is cut off.
    """
    with path.open("rb") as file:
        while head := file.read(RECORD_HEAD):
            (length,) = struct.unpack("<Q", head[:8]) if len(head) == RECORD_HEAD else (0,)
            data = file.read(length)
            cut = len(head) < RECORD_HEAD or len(data) < length
            if cut or len(file.read(RECORD_TAIL)) < RECORD_TAIL:
                raise InputError(f"{path} is cut off or no TFRecord file")
            yield data


def read_example(data: bytes) -> dict[str, Feature]:
    """Features of a serialised Example: bytes as a list, floats as float32, integers as int64."""
    features = dict(_fields(data))[1]
    found = {}
    for _, entry in _fields(features):
        parts = dict(_fields(entry))
        found[parts[1].decode()] = _feature(parts.get(2, b""))
    return found


def _feature(data: bytes) -> Feature:
    for kind, content in _fields(data):
        values = [value for _, value in _fields(content)]
        if kind == 1:
            return values
        if kind == 2:
            return np.concatenate([np.frombuffer(v, "<f4") for v in values] or [np.zeros(0, "<f4")])
        packed = [v if isinstance(v, list) else [v] for v in map(_integers, values)]
        return np.array([i for part in packed for i in part], np.int64)
    return []


def _integers(value: Any) -> Any:
    """Packed integers come as bytes, single ones as themselves."""
    if isinstance(value, int):
        return _signed(value)
    at, found = 0, []
    while at < len(value):
        number, at = _varint(value, at)
        found.append(_signed(number))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a message; bytes for nested ones, ints for varints."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            raise InputError(f"TFRecord message holds a field of unknown kind {kind}")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7

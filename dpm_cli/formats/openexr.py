"""A reader for OpenEXR files of depth: scan lines, one part, stored plain or zipped.

Layout after the OpenEXR file format description: magic, version, attributes, chunk offsets, chunks of 1 or 16 lines;
inside a line the channels follow each other in the header's order.
"""

import struct
import zlib
from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import reads
from dpm_cli.picture_limit import refuse_large

_DTYPES = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_LINES = {0: 1, 2: 1, 3: 16}
_DEPTH = ("Z", "depth.Z", "Depth.Z", "Y", "V", "R")
"""Channels that programs call depth, the surest first; where there is none of them, the first channel is."""


@reads("OpenEXR")
def read_exr(path: Path) -> np.ndarray:
    """(H, W) float32 of the channel of depth: `Z` where there is one.

    Raises:
        InputError: not an EXR file, or tiled, multi-part, or compressed otherwise than by ZIP.
    """
    data = path.read_bytes()
    if data[:4] != b"\x76\x2f\x31\x01":
        raise InputError(f"{path} is no OpenEXR file")
    if data[5] & 0x1A:
        raise InputError(f"{path} is tiled, deep or of several parts: save it as scan lines")
    attributes, at = _attributes(data, 8)
    compression = attributes["compression"][0]
    if compression not in _LINES:
        raise InputError(f"{path} has compression {compression}: save it plain or as ZIP")
    x0, y0, x1, y1 = struct.unpack("<4i", attributes["dataWindow"])
    width, height = x1 - x0 + 1, y1 - y0 + 1
    if width * height <= 0 or width < 0:
        raise InputError(f"{path} is {width}x{height} pixels, which no depth map is")
    refuse_large(path, width, height)
    channels = _channels(attributes["channels"])
    if not channels:
        raise InputError(f"{path} holds no channel")
    return _read_lines(data, at, channels, (height, width), y0, compression)


def _read_lines(
    data: bytes,
    at: int,
    channels: dict[str, np.dtype],
    size: tuple[int, int],
    first_line: int,
    compression: int,
) -> np.ndarray:
    height, width = size
    line_bytes = width * sum(c.itemsize for c in channels.values())
    wanted = next((name for name in _DEPTH if name in channels), next(iter(channels)))
    before = list(channels)[: list(channels).index(wanted)]
    start = width * sum(channels[name].itemsize for name in before)
    stop = start + width * channels[wanted].itemsize
    step = _LINES[compression]
    out = np.zeros(size, np.float32)
    offsets = np.frombuffer(data, "<u8", -(-height // step), at)
    for offset in offsets:
        y, count = struct.unpack_from("<ii", data, int(offset))
        y -= first_line
        lines = min(step, height - y)
        chunk = data[int(offset) + 8 : int(offset) + 8 + count]
        if compression and count < lines * line_bytes:
            chunk = _unzip(chunk)
        rows = np.frombuffer(chunk, np.uint8, lines * line_bytes).reshape(lines, line_bytes)
        out[y : y + lines] = rows[:, start:stop].copy().view(channels[wanted])
    return out


def _unzip(chunk: bytes) -> bytes:
    """Undo deflate, then the running difference, then the split into even and odd bytes."""
    packed = np.frombuffer(zlib.decompress(chunk), np.uint8).astype(np.int64)
    packed[1:] -= 128
    summed = (np.cumsum(packed) & 255).astype(np.uint8)
    out = np.empty_like(summed)
    half = (len(summed) + 1) // 2
    out[0::2], out[1::2] = summed[:half], summed[half:]
    return out.tobytes()


def _attributes(data: bytes, at: int) -> tuple[dict[str, bytes], int]:
    found = {}
    while data[at]:
        name, at = _string(data, at)
        _, at = _string(data, at)
        (size,) = struct.unpack_from("<I", data, at)
        found[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return found, at + 1


def _channels(data: bytes) -> dict[str, np.dtype]:
    """Type by name, in the order in which a line holds them."""
    at, found = 0, {}
    while data[at]:
        name, at = _string(data, at)
        found[name] = _DTYPES[struct.unpack_from("<i", data, at)[0]]
        at += 16
    return found


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode("latin-1"), end + 1

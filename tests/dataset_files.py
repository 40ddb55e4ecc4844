"""Small files in the layouts of public data sets, written independently of the readers."""

import itertools
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np


def grey(value: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def write_image(path: Path, image: np.ndarray) -> Path:
    """RGB or one channel, any depth that the suffix can hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def flo_bytes(flow: np.ndarray) -> bytes:
    height, width = flow.shape[:2]
    return b"PIEH" + struct.pack("<ii", width, height) + flow.astype("<f4").tobytes()


def kitti_flow_image(flow: np.ndarray, valid: np.ndarray) -> np.ndarray:
    coded = (flow * 64 + 2**15).astype(np.uint16)
    return np.dstack((coded, valid.astype(np.uint16))) * valid[..., None].astype(np.uint16)


def exr_bytes(depth: np.ndarray, compression: int = 3) -> bytes:
    """One float channel; 0 = plain, 3 = ZIP in blocks of 16 lines."""
    height, width = depth.shape
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channel = b"Y\0" + struct.pack("<iBxxxii", 2, 0, 1, 1) + b"\0"
    attributes = [
        (b"channels", b"chlist", channel),
        (b"compression", b"compression", bytes([compression])),
        (b"dataWindow", b"box2i", window),
        (b"displayWindow", b"box2i", window),
        (b"lineOrder", b"lineOrder", b"\0"),
    ]
    head = b"\x76\x2f\x31\x01" + struct.pack("<i", 2)
    head += (
        b"".join(n + b"\0" + t + b"\0" + struct.pack("<i", len(v)) + v for n, t, v in attributes)
        + b"\0"
    )
    step = 16 if compression else 1
    chunks = []
    for y in range(0, height, step):
        raw = depth[y : y + step].astype("<f4").tobytes()
        packed = _exr_zip(raw) if compression else raw
        packed = packed if len(packed) < len(raw) else raw
        chunks.append(struct.pack("<ii", y, len(packed)) + packed)
    at = len(head) + 8 * len(chunks)
    offsets = []
    for chunk in chunks:
        offsets.append(at)
        at += len(chunk)
    return head + struct.pack(f"<{len(offsets)}Q", *offsets) + b"".join(chunks)


def _exr_zip(raw: bytes) -> bytes:
    split = list(raw[0::2] + raw[1::2])
    coded = [split[0]] + [(b - a + 128) & 255 for a, b in itertools.pairwise(split)]
    return zlib.compress(bytes(coded))


def record_bytes(features: dict[str, list[bytes] | np.ndarray]) -> bytes:
    """One TFRecord with a serialised tf.train.Example."""
    entries = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _feature(value)))
        for name, value in features.items()
    )
    example = _field(1, entries)
    return struct.pack("<QI", len(example), 0) + example + struct.pack("<I", 0)


def _feature(value: list[bytes] | np.ndarray) -> bytes:
    if isinstance(value, list):
        return _field(1, b"".join(_field(1, v) for v in value))
    if value.dtype.kind == "f":
        return _field(2, _field(1, value.astype("<f4").tobytes()))
    return _field(3, _field(1, b"".join(_varint(int(v) & (2**64 - 1)) for v in value.ravel())))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = []
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def png(image: np.ndarray) -> bytes:
    """Encoded PNG of a one-channel or RGB image."""
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def jpeg(image: np.ndarray) -> bytes:
    """Encoded JPEG of an RGB image."""
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()

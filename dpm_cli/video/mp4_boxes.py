"""Boxes of MP4 and QuickTime files (ISO 14496-12), found without reading the film; damaged ones end their level."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MOST = 4096
"""Boxes of one level that are looked at: a film that was written in fragments has as many as seconds."""
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Box:
    """Where the content of a box lies in its file."""

    kind: bytes
    start: int
    end: int

    def read(self, file: BinaryIO) -> bytes:
        """The content, at most a megabyte."""
        file.seek(self.start)
        return file.read(min(self.end - self.start, _MOST_BYTES))


def whole(file: BinaryIO) -> Box:
    """The file itself as a box."""
    return Box(b"", 0, file.seek(0, 2))


def boxes(file: BinaryIO, parent: Box, *path: bytes) -> Iterator[Box]:
    """All boxes at `path`, from child to grandchild, in `parent`."""
    for box in _children(file, parent):
        if box.kind != path[0]:
            continue
        if len(path) == 1:
            yield box
        else:
            yield from boxes(file, box, *path[1:])


def _children(file: BinaryIO, parent: Box) -> Iterator[Box]:
    at = parent.start
    for _ in range(_MOST):
        file.seek(at)
        head = file.read(min(16, max(parent.end - at, 0)))
        if len(head) < 8:
            return
        size, skip = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, skip = int.from_bytes(head[8:], "big"), 16
        elif size == 0:
            size = parent.end - at
        if size < skip or at + size > parent.end:
            return
        yield Box(head[4:8], at + skip, at + size)
        at += size


def metadata_items(file: BinaryIO, parent: Box) -> Iterator[tuple[str, str | float]]:
    """Names and values that a `meta` box in `parent` gives by name (Apple's metadata of handler `mdta`)."""
    for meta in boxes(file, parent, b"meta"):
        # ISO's box has four bytes of version and flags before its children, QuickTime's has none.
        head = Box(b"meta", meta.start, min(meta.start + 8, meta.end)).read(file)
        skip = 0 if head[4:8] in (b"hdlr", b"keys") else 4
        inner = Box(b"meta", meta.start + skip, meta.end)
        keys = [name for box in boxes(file, inner, b"keys") for name in _names(box.read(file))]
        for listing in boxes(file, inner, b"ilst"):
            for item in _children(file, listing):
                number = int.from_bytes(item.kind, "big")
                for data in boxes(file, item, b"data"):
                    value = _value(data.read(file))
                    if 0 < number <= len(keys) and value is not None:
                        yield keys[number - 1], value


def _names(data: bytes) -> list[str]:
    """Of a `keys` box: version, count, then length, namespace and name of each."""
    names, at = [], 8
    while at + 8 <= len(data) and (size := int.from_bytes(data[at : at + 4], "big")) >= 8:
        names.append(data[at + 8 : at + size].decode(errors="replace"))
        at += size
    return names


def _value(data: bytes) -> str | float | None:
    """Of a `data` box: type, locale, value; text and numbers only."""
    kind, raw = int.from_bytes(data[1:4], "big"), data[8:]
    if kind == 1:
        return raw.decode(errors="replace")
    if kind in (21, 22) and raw:
        return float(int.from_bytes(raw, "big", signed=kind == 21))
    if (kind, len(raw)) in ((23, 4), (24, 8)):
        return struct.unpack(">f" if kind == 23 else ">d", raw)[0]
    return None

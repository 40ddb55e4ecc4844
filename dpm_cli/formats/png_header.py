"""What a PNG announces of its size, before anything of it is decoded: a few bytes may announce gigabytes."""

import struct
from pathlib import Path

from dpm_cli.errors import InputError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 2**26
"""Twice 8K."""


def refuse_large_png(path: Path) -> None:
    """Raise InputError where a PNG announces more than `MOST_PIXELS`; what is no PNG is left to its reader."""
    with open(path, "rb") as file:
        head = file.read(24)
    if len(head) < 24 or not head.startswith(_SIGNATURE):
        return
    width, height = struct.unpack(">II", head[16:24])
    if width * height > MOST_PIXELS:
        raise InputError(f"{path} announces {width}x{height} pixels, which no flow or mask has")

"""How large a picture may be, by what its header announces: a few bytes may announce gigabytes."""

import struct
from pathlib import Path

from dpm_cli.errors import InputError

MOST_PIXELS = 178_956_970
"""More than cameras have (Pillow's own limit); half a GiB decoded."""
_PNG = b"\x89PNG\r\n\x1a\n"


def refuse_large(path: Path, width: int, height: int) -> None:
    """Raise InputError where that is more than `MOST_PIXELS`."""
    if width * height > MOST_PIXELS:
        raise InputError(too_large(path, f"{width}x{height}"))


def refuse_large_png(path: Path) -> None:
    """The same of what a PNG announces, before it is decoded; what is no PNG is left to its reader."""
    with open(path, "rb") as file:
        head = file.read(24)
    if len(head) == 24 and head.startswith(_PNG):
        refuse_large(path, *struct.unpack(">II", head[16:24]))


def too_large(path: Path, size: str) -> str:
    """The line about it."""
    most = f"{MOST_PIXELS / 1e6:.0f} megapixels"
    return f"{path} is too big ({size}), pictures have at most {most}: make it smaller"

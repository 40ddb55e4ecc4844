"""Photos that carry the film around their moment: an MP4 appended to a JPEG or HEIC file (Google, Samsung)."""

import functools
import re
from pathlib import Path

_PHOTOS = frozenset((".jpg", ".jpeg", ".heic", ".heif"))
_FILM = re.compile(rb"\0\0\0[\x14-\x40]ftyp(?:mp4|iso|avc|qt  |M4V|3gp)")
"""The first box of a film: its length, its name, its brand. A HEIC file's own is of brand heic or mif1."""


def film_start(path: Path) -> int | None:
    """Byte at which the film of a motion photo starts, None where the file carries none."""
    if path.suffix.lower() not in _PHOTOS:
        return None
    stat = path.stat()
    return _start(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _start(path: Path, size: int, changed_ns: int) -> int | None:
    found = list(_FILM.finditer(path.read_bytes()))
    return found[-1].start() if found else None

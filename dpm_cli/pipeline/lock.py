"""One writer a folder: a lock that the system lets go with the process, so that none is ever left behind.

The file `.dpm_lock` says who holds it. After a crash it may still be there, but nobody holds it: the next run takes it.
"""

import errno
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dpm_cli.errors import DpmError

LOCK = ".dpm_lock"
_HELD = {errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
_FAR = 1 << 20
"""Windows locks bytes, and those cannot be read by others: one far behind the text."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which is made where it is missing and removed again where nothing was written.

    Raises:
        DpmError: another process holds it.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    descriptor = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _HELD:
                raise
            raise DpmError(
                f"{path.parent} is being written by {_holder(path)}: wait for it, or choose another folder with -o"
            ) from None
        if _is_file(descriptor, path):
            break
        # Its holder has just removed the file: this one has no name any more.
        os.close(descriptor)
    who = {
        "process": os.getpid(),
        "host": platform.node(),
        "since": datetime.now().isoformat(timespec="seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.write(descriptor, (json.dumps(who) + "\n").encode())
    return descriptor


def _lock(descriptor: int) -> None:
    """Raise OSError where another process holds the file."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {who['process']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"

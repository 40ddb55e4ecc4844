"""Atomic writes: a file either has its whole content or does not exist under its name."""

import errno
import functools
import hashlib
import json
import os
import re
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from zipfile import BadZipFile

from dpm_cli.errors import DpmError, InputError, MemoryExhaustedError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}
_UNWRITABLE |= {errno.EFBIG, errno.ENAMETOOLONG, errno.EIO, errno.ELOOP}
"""What a disk says that is full, write-protected or another's; anything else is a defect."""


_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")
_LEFTOVER = re.compile(r"\..*\.[0-9a-f]{8}\.tmp(\.\w+)?")
DAMAGE = (BadZipFile, EOFError, LookupError, OSError, OverflowError, ValueError)
DAMAGE += (struct.error, zlib.error)
"""What parsers raise at bytes that are not what they should be; a library may raise more, which its reader names."""
JSON_DAMAGE = (TypeError, AttributeError, RecursionError)
"""What JSON that is nested otherwise than expected raises besides."""
PICTURE_DAMAGE = (SyntaxError, RuntimeError, TypeError)
"""What Pillow and its plugins raise besides."""


def reads(
    kind: str, *more: type[Exception]
) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Decorator of a reader `read(path, ...)`: damaged and hostile files are one InputError.

    Damage is what raises `DAMAGE`, or what `more` the reader's libraries raise at it; anything else is a defect. Errors
    with a message of their own (DpmError) pass. `kind` completes "cannot be read as ...".
    """

    def decorate(read: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        @functools.wraps(read)
        def guarded(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            try:
                return read(*args, **kwargs)
            except DpmError:
                raise
            except FileNotFoundError as error:
                raise InputError(f"{error.filename or args[0]} does not exist") from error
            except MemoryError as error:
                raise MemoryExhaustedError(f"{args[0]} needs more memory than there is") from error
            except (*DAMAGE, *more) as error:
                told = isinstance(error, OSError) and error.strerror
                reason = told or "it is damaged or of another kind"
                raise InputError(f"{args[0]} cannot be read as {kind}: {reason}") from error

        return guarded

    return decorate


def unwritable(error: OSError) -> str | None:
    """One line for the user where the error is the disk's, None where it is a defect."""
    if error.errno not in _UNWRITABLE:
        return None
    place = error.filename or "the output"
    return f"{place} cannot be written: {error.strerror}; choose another place with -o"


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Give errors of the disk the name of the file that is written: those of a full disk come without one."""
    try:
        yield
    except OSError as error:
        # What numpy could not write to its end it tells without the reason, which is a full disk.
        full = error.errno is None and _CUT_SHORT.fullmatch(str(error)) is not None
        number = errno.ENOSPC if full else error.errno
        if number not in _UNWRITABLE or str(error.filename) == str(path):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


@contextmanager
def atomic_path(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The temporary name keeps the suffix, because some writers choose the format by it. A `durable` file is on the disk
    itself before it gets its name, so that not even a power cut leaves it empty.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        with named_errors(path):
            yield temporary
            if durable:
                sync_file(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether a file is called as the temporary ones that killed writers leave."""
    return _LEFTOVER.fullmatch(path.name) is not None


def drop_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed writers have left directly in a folder."""
    for path in folder.glob(".*.tmp*"):
        if is_leftover(path):
            path.unlink()


def sync_file(path: Path) -> None:
    """Bring what was written to `path` from the system's memory to the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """Checksum of a file's content, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any, *, durable: bool = False) -> None:
    """Write `value` as indented JSON, atomically; refuses NaN, which is not JSON."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")

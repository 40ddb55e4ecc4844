"""The journal of a run: size and checksum of every file that it has written, under `files` of the manifest.

It says which files are whole: resuming keeps those and writes the others again, `dpm info --verify` names the damaged.
Names are relative to the run folder. A manifest may be a stranger's: no name leads out of the folder.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from dpm_cli.errors import InputError
from dpm_cli.files import sha256_of, sync_file

FILES = "files"


def entry_of(path: Path) -> dict[str, Any]:
    """What the journal says of a file: `bytes` and `sha256`."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def recorded(folder: Path, manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The journal by name; empty for runs of older versions.

    Raises:
        InputError: it is no journal, or a name leads out of the folder.
    """
    files = manifest.get(FILES, {})
    if not isinstance(files, dict):
        raise InputError(f"{folder}: the list of files in its manifest is damaged")
    for name, entry in files.items():
        parts = PurePosixPath(name).parts
        inside = parts and not PurePosixPath(name).is_absolute() and ".." not in parts
        told = isinstance(entry, dict) and isinstance(entry.get("bytes"), int)
        told = told and isinstance(entry.get("sha256"), str)
        if not inside or "\\" in name or ":" in name or not told:
            raise InputError(f"{folder}: the manifest lists {name!r}, which is no file of a run")
    return files


def is_whole(folder: Path, name: str, entry: dict[str, Any]) -> bool:
    """Whether the file has the size and the content that were written."""
    path = folder / name
    return (
        path.is_file()
        and path.stat().st_size == entry["bytes"]
        and sha256_of(path) == entry["sha256"]
    )


def damaged(
    folder: Path, manifest: dict[str, Any], *, newer_than_s: float | None = None
) -> list[str]:
    """Names of files that are missing or not as they were written, sorted.

    Args:
        folder: the run.
        manifest: of it.
        newer_than_s: read only files changed after this time (seconds of the file system) or of another size; the
            others are believed. None = read all.
    """
    found = []
    for name, entry in recorded(folder, manifest).items():
        path = folder / name
        if newer_than_s is not None and path.is_file():
            state = path.stat()
            if state.st_size == entry["bytes"] and state.st_mtime <= newer_than_s:
                continue
        if not is_whole(folder, name, entry):
            found.append(name)
    return sorted(found)


def make_durable(folder: Path, names: Iterable[str]) -> None:
    """Bring files of the run to the disk itself."""
    for name in names:
        sync_file(folder / name)

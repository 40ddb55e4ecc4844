"""When a run may start, go on or answer at once; nothing of the user's is deleted."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dpm_cli.errors import UsageError
from dpm_cli.files import drop_leftovers, is_leftover
from dpm_cli.outputs import OUTPUTS
from dpm_cli.pipeline.lock import LOCK
from dpm_cli.sequence import CAMERAS, MANIFEST, read_manifest
from dpm_cli.version import __version__

WORK = ".dpm_work"
_OWN = {"frames": r"\d{6}\.npz"} | {
    output.run_folder: output.run_files for output in OUTPUTS.values() if output.run_folder
}
"""Names of the files that a run writes into each folder."""


@dataclass(frozen=True)
class RunState:
    """What to do with a folder."""

    action: Literal["fresh", "resume", "done"]
    manifest: dict[str, Any]


def examine_folder(
    folder: Path, *, fingerprint: str, digest: str, resume: bool, overwrite: bool
) -> RunState:
    """Compare the folder with the run that is asked for.

    Args:
        folder: the run folder, which may not exist.
        fingerprint: hash of the input.
        digest: hash of the settings.
        resume: go on with an unfinished run of the same input and settings.
        overwrite: replace another run's files, or write beside foreign ones.

    Raises:
        UsageError: the folder holds something else, or what another version has begun, and `overwrite` is not set.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a link that leads nowhere" if folder.is_symlink() else "a file"
        raise UsageError(f"{folder} is {what}: choose another folder with -o")
    if is_empty(folder):
        return RunState("fresh", {})
    manifest = read_manifest(folder)
    if manifest is None:
        if not overwrite:
            raise UsageError(
                f"{folder} is not empty and not a run of dpm: choose another folder with -o, or --overwrite"
            )
        return RunState("fresh", {})
    same = manifest.get("fingerprint") == fingerprint and manifest.get("digest") == digest
    if same and resume and not overwrite:
        if "frames" in manifest["stages"]:
            return RunState("done", manifest)
        if (begun_by := manifest.get("version")) != __version__:
            raise UsageError(
                f"{folder} was begun by dpm {begun_by}: finish it with that, choose another folder with -o, "
                "or --overwrite"
            )
        return RunState("resume", manifest)
    if not overwrite:
        what = "is the same run" if same else "holds a run of another input or other settings"
        raise UsageError(f"{folder} {what}: choose another folder with -o, or --overwrite")
    return RunState("fresh", {})


def is_empty(folder: Path) -> bool:
    """Whether nothing is there; the lock and what a writer left that was killed at its first file do not count."""
    return not folder.is_dir() or all(
        path.name == LOCK or is_leftover(path) for path in folder.iterdir()
    )


def clear_own_files(folder: Path) -> None:
    """Remove what an earlier run of dpm wrote here, by its names, and nothing else."""
    drop_leftovers(folder)
    if read_manifest(folder) is None:
        return
    shutil.rmtree(folder / WORK, ignore_errors=True)
    for path in [*_own_files(folder, "frames"), *output_files(folder)]:
        path.unlink()
    for name in (CAMERAS, MANIFEST):
        (folder / name).unlink(missing_ok=True)


def output_files(folder: Path) -> list[Path]:
    """What runs write from their frames, by its names."""
    return [path for name in _OWN if name != "frames" for path in _own_files(folder, name)]


def own_bytes(folder: Path) -> int:
    """Bytes of what runs have written here: a new or continued one does not need them again."""
    found = [*(folder / WORK).rglob("*"), *_own_files(folder, "frames"), *output_files(folder)]
    return sum(path.stat().st_size for path in found if path.is_file())


def _own_files(folder: Path, name: str) -> list[Path]:
    found = sorted((folder / name).glob("*"))
    return [path for path in found if re.fullmatch(_OWN[name], path.name)]

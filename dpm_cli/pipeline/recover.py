"""What an interrupted run has left: whole parts are kept, torn and damaged ones go and are made again.

A killed process leaves whole files only, because they get their names last; a power cut may leave a name without its
content. Results stand in the run's journal with their checksums; in the work folder every array has one of its own.
"""

import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from dpm_cli.checked_array import is_sound_array
from dpm_cli.clip_store import drop_torn_store
from dpm_cli.outputs import OUTPUTS
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline.run_state import WORK
from dpm_cli.progress import Reporter
from dpm_cli.sequence import CAMERAS, MANIFEST, RunWriter, damaged, read_manifest


def changed_files(folder: Path) -> list[str]:
    """Files of a run that are missing or not as its journal says, by their size, or changed after the manifest.

    Only those are read: a run of many gigabytes answers at once. `dpm info --verify` reads all.
    """
    manifest = read_manifest(folder) or {}
    return damaged(folder, manifest, newer_than_s=(folder / MANIFEST).stat().st_mtime)


def is_result(name: str) -> bool:
    """Whether a file of a run is one that all others are made from."""
    return name == CAMERAS or name.startswith("frames/")


def formats_of(names: list[str]) -> tuple[str, ...]:
    """The formats to which files of a run belong."""
    folders = {name.split("/")[0] for name in names}
    return tuple(output.name for output in OUTPUTS.values() if output.run_folder in folders)


def drop_damaged(writer: RunWriter, reporter: Reporter) -> list[str]:
    """Make a run forget what is damaged, say so, and return the names; without a frame it is unfinished again."""
    bad = changed_files(writer.folder)
    for name in [*bad, *drop_torn_parts(writer.folder / WORK)]:
        reporter.note(f"{name} is missing or damaged: it is written again")
    if bad:
        if any(map(is_result, bad)):
            writer.manifest["stages"] = []
        writer.forget(bad)
    return bad


def drop_torn_parts(work: Path) -> list[str]:
    """Remove what is not whole under the work folder of a run, and what counts on it; returns the names."""
    drop_torn_store(work / "images")
    for leftover in work.rglob(".*.tmp*"):
        leftover.unlink()
    torn = [path for path in sorted(work.rglob("*.np[yz]")) if not _is_sound(path)]
    for path in torn:
        path.unlink()
    if (work / "passes").is_dir():
        PassStore(work / "passes").drop_incomplete()
    return [path.relative_to(work).as_posix() for path in torn]


def _is_sound(path: Path) -> bool:
    if path.suffix == ".npy":
        return is_sound_array(path)
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is None
    except (BadZipFile, EOFError, OSError, ValueError, zlib.error):
        return False

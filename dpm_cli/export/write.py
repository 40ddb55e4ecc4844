"""One export to a path: default names, missing suffixes, and what may be replaced."""

import json
from dataclasses import dataclass
from pathlib import Path

from dpm_cli.config import ExportOptions
from dpm_cli.errors import InputError, UsageError
from dpm_cli.export.writers import writer_of
from dpm_cli.files import write_json
from dpm_cli.outputs import OUTPUTS, Output
from dpm_cli.sequence import Sequence4D

MARKER = "dpm_export.json"
"""Lists the files of an export inside its folder, so that replacing it removes those and nothing of the user's."""


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote."""

    format: str
    path: Path
    bytes: int
    """Size of the file, or of all files in the folder."""


def export_sequence(
    sequence: Sequence4D,
    name: str,
    path: Path | None = None,
    options: ExportOptions | None = None,
    *,
    overwrite: bool = False,
) -> ExportResult:
    """Write `sequence` in the format `name`.

    Args:
        sequence: what to export.
        name: a key of `OUTPUTS`.
        path: file or folder; a missing suffix is added. None = `<run>_<format>` in the current folder.
        options: what the format may be told.
        overwrite: replace what is there.

    Raises:
        UsageError: an unknown format, or `path` exists and `overwrite` is not set.
        InputError: the sequence has nothing to export in this format.
    """
    if name not in OUTPUTS:
        raise UsageError(f"unknown format {name}: choose from {', '.join(OUTPUTS)}")
    options = options or ExportOptions()
    path = path or Path(f"{sequence.name}_{name.replace('-', '_')}")
    suffix = _suffix(OUTPUTS[name], path, options)
    path = with_suffix(path, suffix)
    make_room(path, suffix, overwrite)
    foreign = _files(path)
    writer_of(OUTPUTS[name])(sequence, path, options)
    if suffix:
        return ExportResult(name, path, path.stat().st_size)
    if not _files(path):
        raise InputError(
            f"{sequence.name} holds nothing that {name} could show: one frame has no flow"
        )
    own = sorted(_files(path) - foreign)
    total = sum((path / file).stat().st_size for file in own)
    write_json(path / MARKER, {"format": name, "run": sequence.name, "files": own})
    return ExportResult(name, path, total)


def _suffix(output: Output, path: Path, options: ExportOptions) -> str:
    """Of the file to write: that of `path` where the format has it; empty where a folder is written."""
    if not output.suffixes or (output.or_folder and options.one_cloud_a_frame):
        return ""
    return path.suffix if path.suffix in output.suffixes else output.suffixes[0]


def with_suffix(path: Path, suffix: str) -> Path:
    """`path`, with `suffix` appended where it is missing."""
    return path if path.name.endswith(suffix) else path.with_name(path.name + suffix)


def make_room(path: Path, suffix: str, overwrite: bool) -> None:
    """Refuse (UsageError) what is not to be replaced; remove what an earlier export into a folder wrote."""
    if suffix and path.is_dir():
        raise UsageError(f"{path} is a folder, and this format is one file: name a file with -o")
    if not suffix and path.is_file():
        raise UsageError(f"{path} is a file, and this format is a folder: name a folder with -o")
    taken = path.is_file() or bool(_files(path)) or (path / MARKER).exists()
    if taken and not overwrite:
        raise UsageError(f"{path} exists: choose another path with -o, or --overwrite")
    for file in _marked(path):
        (path / file).unlink(missing_ok=True)


def _marked(folder: Path) -> list[str]:
    """Files of an earlier export into `folder`, by its own list."""
    try:
        files = json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return []
    root = folder.resolve()
    return [file for file in files if (folder / file).resolve().is_relative_to(root)]


def _files(folder: Path) -> set[str]:
    """Relative names of all files in a folder but the marker."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if name != MARKER}

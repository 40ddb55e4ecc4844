"""The run folder on disk: `dpm.json`, `cameras.npz`, `frames/000000.npz`.

Every file is written atomically, so a run that was interrupted holds only whole files and can be resumed.
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.config import MOTION_THRESHOLD
from dpm_cli.errors import InputError
from dpm_cli.files import write_json
from dpm_cli.sequence.frame import FRAME_KEYS, FrameResult, read_frame_arrays, write_frame
from dpm_cli.sequence.header import SequenceHeader, read_header, write_header
from dpm_cli.sequence.journal import FILES, entry_of, is_whole, make_durable

SCHEMA = 1
MANIFEST = "dpm.json"
CAMERAS = "cameras.npz"
_JOURNAL_S = 2.0
"""Seconds between two writes of the journal while frames are written: what a killed run does again."""


def frame_path(folder: Path, t: int) -> Path:
    """Path of frame `t`, zero-based, constant width."""
    return folder / "frames" / f"{t:06d}.npz"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run folder, None where there is none.

    Raises:
        InputError: `dpm.json` is damaged or of a newer schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: run again with --overwrite") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("schema"), int):
        raise InputError(f"{path} is not a manifest of dpm")
    if manifest["schema"] > SCHEMA:
        raise InputError(
            f"{path} was written by a newer dpm (schema {manifest['schema']}): update dpm"
        )
    stages = manifest.setdefault("stages", [])
    if not isinstance(stages, list) or not all(isinstance(stage, str) for stage in stages):
        raise InputError(f"{path} is damaged (stages): run again with --overwrite")
    return manifest


class RunWriter:
    """Writes a run folder piece by piece; the manifest is kept here and rewritten when it changes.

    Its journal holds every file that was written; files are on the disk itself before the manifest says that their
    stage is done.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.folder = Path(folder)
        self.manifest = {"schema": SCHEMA, "stages": [], FILES: {}, **manifest}
        self._fresh: set[str] = set()
        self._written_s = time.monotonic()

    def write_manifest(self, updates: dict[str, Any] | None = None) -> None:
        """Merge `updates` into the manifest and write it."""
        self.manifest.update(updates or {})
        self.manifest[FILES] = self.manifest.pop(FILES)  # the long part last
        write_json(self.folder / MANIFEST, self.manifest, durable=True)
        self._written_s = time.monotonic()

    def stage_done(self, name: str) -> None:
        """Record in the manifest that a stage is finished."""
        make_durable(self.folder, sorted(self._fresh))
        self._fresh.clear()
        if name not in self.manifest["stages"]:
            self.manifest["stages"].append(name)
        self.write_manifest()

    def record(self, path: Path) -> None:
        """Enter a file that was just written into the journal."""
        name = path.relative_to(self.folder).as_posix()
        self.manifest[FILES][name] = entry_of(path)
        self._fresh.add(name)
        if time.monotonic() - self._written_s > _JOURNAL_S:
            self.write_manifest()

    def forget(self, names: Iterable[str]) -> None:
        """Take files out of the journal: they are to be written again."""
        for name in names:
            self.manifest[FILES].pop(name, None)
        self.write_manifest()

    def has_frame(self, t: int) -> bool:
        """Whether frame `t` was written and is still whole."""
        name = frame_path(self.folder, t).relative_to(self.folder).as_posix()
        entry = self.manifest[FILES].get(name)
        return entry is not None and is_whole(self.folder, name, entry)

    def write_cameras(self, header: SequenceHeader) -> None:
        """Write `cameras.npz`; frames that were written for other cameras count no longer."""
        before = self.manifest[FILES].get(CAMERAS)
        write_header(self.folder / CAMERAS, header)
        self.record(self.folder / CAMERAS)
        if before != self.manifest[FILES][CAMERAS]:
            self.forget([name for name in self.manifest[FILES] if name.startswith("frames/")])

    def write_frame(self, t: int, frame: FrameResult) -> None:
        """Write `frames/<t>.npz`; raises ValueError where an array is not finite."""
        write_frame(frame_path(self.folder, t), frame)
        self.record(frame_path(self.folder, t))


class RunFrames:
    """Frames of a run folder, read when asked for; what does not move by the threshold has no scene flow."""

    def __init__(self, folder: Path, motion_threshold: float):
        self.folder = folder
        self.motion_threshold = motion_threshold

    def read(self, t: int, keys: tuple[str, ...] = FRAME_KEYS) -> dict[str, np.ndarray]:
        """Those of `keys` that frame `t` has."""
        flows = [key for key in keys if key.startswith("scene_flow")]
        found = read_frame_arrays(frame_path(self.folder, t), {*keys, "dynamic"} if flows else keys)
        for key in flows:
            if key in found:
                moving = found["dynamic"] > self.motion_threshold
                found[key] = np.where(moving[..., None], found[key], np.float32(0))
        return {key: found[key] for key in keys if key in found}


def threshold_of(manifest: dict[str, Any] | None) -> float:
    """Motion score above which a pixel of the run with this manifest moves."""
    outputs = (manifest or {}).get("outputs", {})
    return float(outputs.get("motion_threshold", MOTION_THRESHOLD))


def open_run(
    folder: Path, motion_threshold: float | None = None
) -> tuple[SequenceHeader, RunFrames, dict[str, Any] | None]:
    """Header, frames and manifest of a run folder; `motion_threshold` None = the run's own.

    Raises:
        InputError: it is no run folder, or the run is unfinished.
    """
    if not (folder / CAMERAS).is_file():
        way_out = (
            "finish it with dpm reconstruct" if (folder / MANIFEST).is_file() else "is it a run?"
        )
        raise InputError(f"{folder} holds no cameras.npz: {way_out}")
    header = read_header(folder / CAMERAS)
    missing = next((t for t in range(len(header)) if not frame_path(folder, t).is_file()), None)
    if missing is not None:
        raise InputError(
            f"{frame_path(folder, missing)} is missing: finish it with dpm reconstruct"
        )
    manifest = read_manifest(folder)
    threshold = threshold_of(manifest) if motion_threshold is None else motion_threshold
    return header, RunFrames(folder, threshold), manifest

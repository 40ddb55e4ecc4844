"""Facts of a run or an exported npz as plain values, for `dpm info`."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.sequence.journal import damaged, recorded
from dpm_cli.sequence.run_folder import read_manifest
from dpm_cli.sequence.sequence import Sequence4D

_FROM_MANIFEST = ("version", "device", "dtype", "pairs", "quality", "timings_s", "stages", "notes")


def describe_sequence(path: Path) -> dict[str, Any]:
    """What a run folder or npz file holds; of an unfinished run what its manifest tells.

    Raises:
        InputError: neither.
    """
    if path.is_dir() and not (path / "cameras.npz").is_file():
        manifest = read_manifest(path)
        if manifest is not None:
            return {"kind": "unfinished run", "path": str(path), **_told(manifest)}
    kind = {"kind": "run" if path.is_dir() else "sequence", "path": str(path)}
    return {**kind, **sequence_facts(Sequence4D.open(path))}


def verify_run(path: Path) -> dict[str, Any]:
    """Which files of a run are not as they were written; every file is read.

    Raises:
        InputError: it is no run, or one of a version of dpm that kept no checksums.
    """
    manifest = read_manifest(path) if path.is_dir() else None
    if manifest is None:
        raise InputError(f"{path} is not a run of dpm: --verify is for run folders")
    files = recorded(path, manifest)
    if not files:
        raise InputError(f"{path} has no checksums: it is of an older dpm, or was stopped early")
    bad = damaged(path, manifest)
    found: dict[str, Any] = {
        "kind": "run" if "outputs" in manifest["stages"] else "unfinished run",
        "path": str(path),
        "files": len(files),
        "bytes": sum(int(entry["bytes"]) for entry in files.values()),
        "damaged": bad,
    }
    if bad:
        found["way_out"] = "delete what is damaged; the command that made the run writes it again"
    return found


def sequence_facts(sequence: Sequence4D) -> dict[str, Any]:
    """What an open sequence holds."""
    steps = np.linalg.norm(np.diff(sequence.cam2world[:, :3, 3], axis=0), axis=-1)
    height, width = sequence.size
    focal = float(np.median(sequence.intrinsics[:, 0, 0]))
    return {
        "model": sequence.model,
        "frames": len(sequence),
        "first_frame_s": round(float(sequence.timestamps[0]), 6),
        "last_frame_s": round(float(sequence.timestamps[-1]), 6),
        "width": width,
        "height": height,
        "source_width": sequence.source_size[1],
        "source_height": sequence.source_size[0],
        "focal_px": round(focal, 3),
        "fov_deg": round(math.degrees(2 * math.atan(width / 2 / focal)), 3),
        "cameras_registered": int(sequence.camera_ok.sum()),
        "shots": len(np.unique(sequence.shot)),
        "camera_path_length": float(steps.sum()),
        "scale": sequence.scale,
        "world": sequence.world,
        "convention": sequence.convention,
        **_told(sequence.manifest or {}),
    }


def _told(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: manifest[key] for key in _FROM_MANIFEST if key in manifest}

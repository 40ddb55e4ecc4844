"""What the manifest of a run says, and the line about it that `--json` prints."""

import platform
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.passes.pictures import Pictures
from dpm_cli.predictors.protocol import PredictorInfo
from dpm_cli.structures import Clip
from dpm_cli.version import __version__
from dpm_cli.video.bars import shown_area


def first_manifest(
    target: RunTarget,
    settings: ReconstructSettings,
    info: PredictorInfo,
    device: torch.device,
    dtype: torch.dtype,
    identity: dict[str, str],
) -> dict[str, Any]:
    """What is known before any work; `identity` holds the hashes of the input and of the settings."""
    return {
        "tool": "dpm",
        "version": __version__,
        "libraries": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "input": [str(Path(name).resolve()) for name in target.inputs],
        **identity,
        "settings": settings.to_json(),
        "model": {
            "name": info.name,
            "weights_sha256": info.weights_sha256,
            "weights_licence": info.weights_licence,
            "notes": list(info.notes),
        },
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
    }


def clip_manifest(clip: Clip, pictures: Pictures, shot: np.ndarray) -> dict[str, Any]:
    """What is known of the clip; `shot` (T,) numbers the shots.

    `picture` of a frame is the frame whose picture it shows, mostly its own, null where it shows none.
    """
    first = [int(pictures.shown[n]) if n >= 0 else None for n in pictures.of_frame]
    return {
        "source_size": list(clip.source_size),
        "source_area": list(astuple(shown_area(clip.source_from_working, clip.size))),
        "working_size": list(clip.size),
        "source_from_working": clip.source_from_working.tolist(),
        "scale": {
            "status": "arbitrary",
            "factor": 1.0,
            "source": "median scale of the passes of each shot",
        },
        "frames": [
            {"index": int(i), "time_s": float(s), "shot": int(n), "picture": p}
            for i, s, n, p in zip(clip.frame_index, clip.timestamps, shot, first, strict=True)
        ],
    }


def summary(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """What `--json` says of a run."""
    return {
        "run": str(folder),
        "model": manifest["model"]["name"],
        "frames": len(manifest["frames"]),
        "pairs": manifest.get("pairs", 0),
        "cameras_registered": manifest["cameras_registered"],
        "focal_px": manifest["focal_px"],
        "seconds": round(sum(manifest["timings_s"].values()), 3),
        "notes": manifest["notes"],
    }

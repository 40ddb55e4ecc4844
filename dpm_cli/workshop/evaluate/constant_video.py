"""The baseline of whole sequences: a wall at depth 1, a still camera, nothing moves."""

from pathlib import Path

import numpy as np

from dpm_cli.sequence import Sequence4D
from dpm_cli.video.images import read_image


def constant_sequence(images: list[str], folder: Path) -> Sequence4D:
    """A sequence of image files at their own size; nothing is written to `folder`."""
    frames = np.stack([read_image(Path(p)) for p in images])
    count, height, width = frames.shape[:3]
    K = np.array(
        [
            [max(height, width), 0, (width - 1) / 2],
            [0, max(height, width), (height - 1) / 2],
            [0, 0, 1.0],
        ]
    )
    maps, steps = (count, height, width), (count - 1, height, width)
    arrays = {
        "images": frames,
        "depth": np.ones(maps, np.float32),
        "confidence": np.ones(maps, np.float32),
        "valid": np.ones(maps, bool),
        "dynamic": np.zeros(maps, np.float32),
        "cam2world": np.tile(np.eye(4), (count, 1, 1)),
        "intrinsics": np.tile(K, (count, 1, 1)),
        "intrinsics_source": np.tile(K, (count, 1, 1)),
        "source_from_working": np.eye(3),
        "frame_index": np.arange(count),
        "timestamps": np.arange(count) / 25,
        "camera_ok": np.ones(count, bool),
        "shot": np.zeros(count, np.int64),
        "convention": np.array("opencv"),
        "world": np.array("first-camera"),
        "scale": np.array("arbitrary"),
        "model": np.array("constant-depth"),
    }
    for way in ("fwd", "bwd"):
        arrays[f"scene_flow_{way}"] = np.zeros((*steps, 3), np.float32)
        arrays[f"flow_{way}"] = np.zeros((*steps, 2), np.float32)
        arrays[f"flow_{way}_valid"] = np.ones(steps, bool)
    return Sequence4D.from_arrays(arrays, folder.name)

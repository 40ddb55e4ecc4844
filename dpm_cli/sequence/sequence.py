"""Sequence4D: a reconstruction or a ground truth over T frames, read frame by frame."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.sequence.archive import ArrayFrames, open_archive
from dpm_cli.sequence.frame import FRAME_KEYS, MOTION_KEYS, FrameResult, world_points
from dpm_cli.sequence.header import SequenceHeader
from dpm_cli.sequence.run_folder import open_run
from dpm_cli.structures import Cameras


class FrameSource(Protocol):
    """Where the per-pixel arrays come from."""

    def read(self, t: int, keys: tuple[str, ...] = FRAME_KEYS) -> dict[str, np.ndarray]:
        """Those of `keys` that frame `t` has."""
        ...


class Sequence4D:
    """T frames with cameras; small things in memory, frames read when asked for."""

    def __init__(
        self,
        header: SequenceHeader,
        frames: FrameSource,
        *,
        name: str = "sequence",
        manifest: dict[str, Any] | None = None,
    ):
        self.header = header
        self.frames = frames
        self.name = name
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path | str) -> "Sequence4D":
        """A run folder, or an npz file with the keys of CONVENTIONS.md.

        Raises:
            InputError: nothing there, or not a result of dpm, or an unfinished run.
        """
        path = Path(path)
        if path.is_dir():
            header, run_frames, manifest = open_run(path)
            return cls(header, run_frames, name=path.resolve().name, manifest=manifest)
        if not path.is_file():
            raise InputError(f"{path} does not exist: give a run folder or a dpm npz file")
        header, frames = open_archive(path)
        return cls(header, frames, name=path.stem)

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], name: str = "sequence") -> "Sequence4D":
        """A sequence of arrays in memory with the keys of CONVENTIONS.md, for example of `dpm synth`."""
        height, width = arrays["depth"].shape[1:]
        return cls(
            SequenceHeader.from_arrays(arrays, (height, width)), ArrayFrames(arrays), name=name
        )

    def __len__(self) -> int:
        return len(self.header)

    def frame(self, t: int) -> FrameResult:
        """Everything of frame `t`."""
        return FrameResult(**self.frames.read(t))

    def read(self, t: int, key: str) -> np.ndarray | None:
        """One array of frame `t` (a field of FrameResult, or `points`), None where the frame has none."""
        if key == "points":
            depth = self.frames.read(t, ("depth",))["depth"]
            return world_points(depth, self.cam2world[t], self.intrinsics[t])
        return self.frames.read(t, (key,)).get(key)

    def arrays(self, key: str) -> np.ndarray:
        """One key of CONVENTIONS.md for the whole clip, stacked: (T, ...), motion keys (T - 1, ...)."""
        rows = [self.read(t, "image" if key == "images" else key) for t in range(len(self))]
        found = [row for row in rows if row is not None]
        if not found and key in MOTION_KEYS:
            return np.zeros((0, *self.size, *motion_tail(key)), motion_dtype(key))
        return np.stack(found)

    @property
    def cameras(self) -> Cameras:
        """Cameras of the T frames."""
        return self.header.cameras

    @property
    def cam2world(self) -> np.ndarray:
        """(T, 4, 4) float64."""
        return self.header.cameras.cam2world

    @property
    def intrinsics(self) -> np.ndarray:
        """(T, 3, 3) float64 at the working size."""
        return self.header.cameras.intrinsics

    @property
    def intrinsics_source(self) -> np.ndarray:
        """(T, 3, 3) float64 at the source size."""
        return self.header.intrinsics_source

    @property
    def camera_ok(self) -> np.ndarray:
        """(T,) bool."""
        return self.header.cameras.registered

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the working images."""
        return self.header.size

    @property
    def source_size(self) -> tuple[int, int]:
        """(height, width) of the source."""
        return self.header.source_size

    @property
    def source_from_working(self) -> np.ndarray:
        """(3, 3) float64."""
        return self.header.source_from_working

    @property
    def timestamps(self) -> np.ndarray:
        """(T,) float64 seconds."""
        return self.header.timestamps

    @property
    def frame_index(self) -> np.ndarray:
        """(T,) int64 in the source."""
        return self.header.frame_index

    @property
    def shot(self) -> np.ndarray:
        """(T,) int64."""
        return self.header.shot

    @property
    def scale(self) -> str:
        """Whether units are arbitrary, metric or aligned."""
        return self.header.scale

    @property
    def world(self) -> str:
        """What the world frame is."""
        return self.header.world

    @property
    def model(self) -> str:
        """Name of the predictor."""
        return self.header.model

    @property
    def convention(self) -> str:
        """The conventions in words."""
        return self.header.convention


def motion_tail(key: str) -> tuple[int, ...]:
    """Trailing shape of a motion key."""
    if key.endswith("_valid"):
        return ()
    return (3,) if key.startswith("scene") else (2,)


def motion_dtype(key: str) -> type:
    """Type of a motion key."""
    return np.bool_ if key.endswith("_valid") else np.float32

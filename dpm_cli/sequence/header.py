"""What a sequence holds once and not once a pixel: cameras, times, sizes, scale; the file `cameras.npz`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import atomic_path, reads
from dpm_cli.formats.npz_read import load_npz
from dpm_cli.structures import Cameras, Clip
from dpm_cli.video.bars import Area, shown_area

CONVENTION = (
    "opencv: x right, y down, z forward; pixel centres at integers; cam2world; depth is z; "
    "scene flow in world axes; optical flow in working pixels"
)


@dataclass(frozen=True, eq=False)
class SequenceHeader:
    """The part of a sequence that is small enough to hold in memory."""

    cameras: Cameras
    size: tuple[int, int]
    """(height, width) of the working images."""
    source_from_working: np.ndarray
    """(3, 3) float64, working pixel to source pixel."""
    frame_index: np.ndarray
    """(T,) int64, index of each frame in the source."""
    timestamps: np.ndarray
    """(T,) float64, presentation times in seconds."""
    shot: np.ndarray
    """(T,) int64, number of the shot; a new one after every cut."""
    scale: str
    """arbitrary, metric or aligned."""
    model: str
    """Name of the predictor."""
    world: str = "first-camera"
    convention: str = CONVENTION
    whole_source_size: tuple[int, int] | None = None
    """(height, width) of the source where the working images do not show all of it."""

    @classmethod
    def of_clip(
        cls, clip: Clip, cameras: Cameras, *, scale: str, model: str, shot: np.ndarray | None = None
    ) -> "SequenceHeader":
        """Header of the reconstruction of `clip`; without `shot` all frames are one shot."""
        shot = np.zeros(len(clip), np.int64) if shot is None else shot
        return cls(
            cameras=cameras,
            size=clip.size,
            source_from_working=clip.source_from_working,
            frame_index=clip.frame_index,
            timestamps=clip.timestamps,
            shot=shot,
            scale=scale,
            model=model,
            whole_source_size=clip.source_size,
        )

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], size: tuple[int, int]
    ) -> "SequenceHeader":
        """Inverse of `arrays`.

        Raises:
            InputError: a key of CONVENTIONS.md is missing.
        """
        missing = [key for key in HEADER_KEYS if key not in arrays]
        if missing:
            raise InputError(f"not a dpm result: the key {missing[0]} is missing")
        _require_consistent(arrays, size)
        return cls(
            cameras=Cameras(
                np.asarray(arrays["cam2world"], np.float64),
                np.asarray(arrays["intrinsics"], np.float64),
                np.asarray(arrays["camera_ok"], bool),
            ),
            size=size,
            source_from_working=np.asarray(arrays["source_from_working"], np.float64),
            frame_index=np.asarray(arrays["frame_index"], np.int64),
            timestamps=np.asarray(arrays["timestamps"], np.float64),
            shot=np.asarray(arrays["shot"], np.int64),
            scale=str(arrays["scale"]),
            model=str(arrays["model"]),
            world=str(arrays["world"]),
            convention=str(arrays["convention"]),
            whole_source_size=_size(arrays["source_size"]) if "source_size" in arrays else None,
        )

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def intrinsics_source(self) -> np.ndarray:
        """(T, 3, 3) float64 at the source size."""
        return self.source_from_working @ self.cameras.intrinsics

    @property
    def source_size(self) -> tuple[int, int]:
        """(height, width) of the source after rotation."""
        return self.whole_source_size or self.source_area.size

    @property
    def source_area(self) -> Area:
        """What of the source the working images show: all of it, or the picture without bars."""
        return shown_area(self.source_from_working, self.size)

    def arrays(self) -> dict[str, np.ndarray]:
        """The keys of CONVENTIONS.md that are not per pixel; `source_size` too where bars were left out."""
        cropped = self.source_size != self.source_area.size
        return {
            **({"source_size": np.array(self.source_size, np.int64)} if cropped else {}),
            "cam2world": np.asarray(self.cameras.cam2world, np.float64),
            "intrinsics": np.asarray(self.cameras.intrinsics, np.float64),
            "intrinsics_source": self.intrinsics_source,
            "source_from_working": np.asarray(self.source_from_working, np.float64),
            "camera_ok": np.asarray(self.cameras.registered, bool),
            "shot": np.asarray(self.shot, np.int64),
            "frame_index": np.asarray(self.frame_index, np.int64),
            "timestamps": np.asarray(self.timestamps, np.float64),
            "convention": np.array(self.convention),
            "world": np.array(self.world),
            "scale": np.array(self.scale),
            "model": np.array(self.model),
        }


HEADER_KEYS = (
    "cam2world",
    "intrinsics",
    "source_from_working",
    "camera_ok",
    "shot",
    "frame_index",
    "timestamps",
    "convention",
    "world",
    "scale",
    "model",
)


_SHAPES = {"cam2world": (4, 4), "intrinsics": (3, 3), "timestamps": ()}
_SHAPES |= {"camera_ok": (), "shot": (), "frame_index": ()}
"""What each frame has of it."""


def _require_consistent(arrays: Mapping[str, np.ndarray], size: tuple[int, int]) -> None:
    """Raise ValueError for arrays of different frame numbers or odd shapes, or cameras that are not finite."""
    count = len(arrays["frame_index"])
    shapes = {name: (count, *tail) for name, tail in _SHAPES.items()}
    for name, shape in (shapes | {"source_from_working": (3, 3)}).items():
        values = np.asarray(arrays[name])
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(f"{name} is not {shape} or not finite")
    if count < 1 or min(size) < 1:
        raise ValueError("no frames, or frames without pixels")


def _size(array: np.ndarray) -> tuple[int, int]:
    height, width = array.tolist()
    return int(height), int(width)


def write_header(path: Path, header: SequenceHeader) -> None:
    """Write `cameras.npz` atomically; it also holds the working size as `size`."""
    with atomic_path(path) as temporary:
        np.savez(temporary, **{"size": np.array(header.size, np.int64), **header.arrays()})  # pyright: ignore


@reads("the cameras of a run")
def read_header(path: Path) -> SequenceHeader:
    """Read `cameras.npz`.

    Raises:
        InputError: the file is missing or damaged.
    """
    arrays = load_npz(path)
    return SequenceHeader.from_arrays(arrays, _size(arrays["size"]))

"""Flow that the user brought: a folder of .flo, KITTI .png or .npz files, forward and backward by name.

`fwd_000000_000001` is the flow from frame 0 of the source to frame 1, `bwd_000001_000000` the one back, the names that
a run folder uses itself. Numbers are frame numbers in the source. Files show the whole source, or the picture
without its bars, or are at the working size; an .npz holds one array `flow` (H, W, 2) in pixels, x then y.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dpm_cli.errors import InputError
from dpm_cli.files import reads
from dpm_cli.formats.flo import FlowField, read_flo
from dpm_cli.formats.kitti_flow import read_kitti_flow
from dpm_cli.formats.npz_read import load_npz
from dpm_cli.matching.choice import Both
from dpm_cli.video.bars import Area

SUFFIXES = (".flo", ".png", ".npz")


@dataclass(frozen=True)
class UserFlow:
    """Flow files of one clip."""

    folder: Path
    frame_index: tuple[int, ...]
    """Number in the source of every frame of the clip."""
    source_size: tuple[int, int]
    """(height, width) of the source after rotation."""
    area: Area
    """The picture without bars, in source pixels."""

    def check(self) -> None:
        """Look for the flow of all neighbours.

        Raises:
            InputError: the folder or a file between neighbours is missing.
        """
        if not self.folder.is_dir():
            raise InputError(f"--flow-dir {self.folder}: no such folder")
        for a, b in zip(self.frame_index, self.frame_index[1:], strict=False):
            for name in (_name("fwd", a, b), _name("bwd", b, a)):
                if self._find(name) is None:
                    raise InputError(
                        f"--flow-dir {self.folder}: {name} ({', '.join(SUFFIXES)}) is missing; "
                        "flow of all neighbours must be there, forward and backward"
                    )

    def read(self, i: int, j: int, size: tuple[int, int]) -> Both | None:
        """Flow both ways between frames i < j of the clip at `size` (height, width); None where there are no files.

        Raises:
            InputError: a file is unreadable, of another size or not finite.
        """
        a, b = self.frame_index[i], self.frame_index[j]
        paths = self._find(_name("fwd", a, b)), self._find(_name("bwd", b, a))
        if paths[0] is None or paths[1] is None:
            return None
        return self._load(paths[0], size), self._load(paths[1], size)

    def _find(self, name: str) -> Path | None:
        found = (self.folder / f"{name}{suffix}" for suffix in SUFFIXES)
        return next((p for p in found if p.is_file()), None)

    def _load(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        field = _read(path)
        height, width = found = field.valid.shape
        if found not in (self.source_size, self.area.size, size):
            raise InputError(
                f"--flow-dir: {path} is {width}x{height}, the video {self.source_size[1]}x{self.source_size[0]}"
            )
        if found == self.source_size:
            part = self.area.part
            field = FlowField(field.flow[part], field.valid[part])
        if not field.valid.any() or not np.isfinite(field.flow[field.valid]).all():
            raise InputError(f"--flow-dir: {path} holds numbers that are not finite")
        return _shrink(field, size)


def _name(way: str, a: int, b: int) -> str:
    return f"{way}_{a:06d}_{b:06d}"


@reads("flow (--flow-dir)")
def _read(path: Path) -> FlowField:
    if path.suffix == ".flo":
        return read_flo(path)
    if path.suffix == ".png":
        return read_kitti_flow(path)
    flow = np.asarray(load_npz(path)["flow"], np.float32)
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise InputError(f"--flow-dir: {path} holds {flow.shape}, not (height, width, 2)")
    return FlowField(flow, np.ones(flow.shape[:2], bool))


def _shrink(field: FlowField, size: tuple[int, int]) -> np.ndarray:
    """Mean of the known flow in every pixel of `size`, in its pixels; unknown pixels take their surroundings'."""
    height, width = field.valid.shape
    scale = np.array((size[1] / width, size[0] / height), np.float32)
    flow, weight = np.where(field.valid[..., None], field.flow, 0), field.valid.astype(np.float32)
    for _ in range(64):
        small = cv2.resize(weight, size[::-1], interpolation=cv2.INTER_AREA)
        if small.min() > 1e-6:
            break
        # Unknown ground is filled from around it, ring by ring.
        near = cv2.blur(weight, (15, 15))
        filled = cv2.blur(flow * weight[..., None], (15, 15)) / np.maximum(near, 1e-6)[..., None]
        empty = (weight == 0) & (near > 1e-6)
        flow = np.where(empty[..., None], filled, flow)
        weight = np.where(empty, 1, weight)
    total = cv2.resize(flow * weight[..., None], size[::-1], interpolation=cv2.INTER_AREA)
    small = cv2.resize(weight, size[::-1], interpolation=cv2.INTER_AREA)
    return (total / np.maximum(small, 1e-6)[..., None] * scale).astype(np.float32)

"""What is kept of every pass (directed pair) between prediction and fusion: on disk, so that memory stays bounded.

A batch of passes is one small file for the alignment (`chunk_START_STOP.npz`: relative cameras, focals, depth on a
coarse grid) and one dense file a pass for the fusion (`pass_EEEEEE.npy`, one record a view). The chunk
file is written last, so its existence says that the batch is complete: that is what resuming relies on.

Log depth is quantised to 16 bits over the range of its map: a step is at most 2e-4 for depths that span a factor
of 10^5, far below any predictor's error, at half the bytes of float32. Flow is a result between neighbours, so float32;
of farther frames it is evidence only, and float16 errs by at most 1/32 px for flow of up to 64 px.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dpm_cli.checked_array import load_array, load_arrays, save_checked
from dpm_cli.files import atomic_path

_CHUNK = re.compile(r"chunk_(\d+)_(\d+)\.npz")


@dataclass(frozen=True, eq=False)
class DensePass:
    """The dense maps of one pass; the first axis is the view."""

    log_depth: np.ndarray
    """(2, H, W) float32, own-camera z at the view's own time, log of pass units."""
    confidence: np.ndarray
    """(2, H, W) float32."""
    valid: np.ndarray
    """(2, H, W) bool."""
    motion: np.ndarray
    """(2, H, W) float32 score 0..1."""
    flow: np.ndarray
    """(2, H, W, 2) float32 pixels."""
    flow_visible: np.ndarray
    """(2, H, W) bool."""
    scene_flow: np.ndarray | None
    """(2, H, W, 3) float32, camera 1's frame, pass units; only of neighbouring frames."""


@dataclass(frozen=True, eq=False)
class PassView:
    """What a pass says of one of its frames."""

    log_depth: np.ndarray
    """(H, W) float32."""
    confidence: np.ndarray
    """(H, W) float32."""
    valid: np.ndarray
    """(H, W) bool."""
    motion: np.ndarray
    """(H, W) float32."""


@dataclass(frozen=True, eq=False)
class PassStep:
    """What a pass of neighbouring frames says of the way between them, from one of its views."""

    flow: np.ndarray
    """(H, W, 2) float32."""
    back: np.ndarray
    """(H, W, 2) float32, from the other view."""
    visible: np.ndarray
    """(H, W) bool."""
    scene_flow: np.ndarray
    """(H, W, 3) float32."""
    log_depth: np.ndarray
    """(H, W) float32, of the view that is left."""


class PassStore:
    """A folder of passes."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def done(self) -> list[tuple[int, int]]:
        """[start, stop) rows of the pair list that are complete, sorted.

        A part of a chunk that was made again as a whole (a batch that memory had halved) counts no more.
        """
        names = (_CHUNK.fullmatch(p.name) for p in self.folder.iterdir())
        found = sorted((int(m[1]), -int(m[2])) for m in names if m)
        rows: list[tuple[int, int]] = []
        for start, stop in found:
            if not rows or -stop > rows[-1][1]:
                rows.append((start, -stop))
        return rows

    def drop_incomplete(self) -> None:
        """Remove the chunks of which a dense file is missing: those passes are predicted again."""
        for start, stop in self.done():
            if not all(self._dense(number).is_file() for number in range(start, stop)):
                (self.folder / f"chunk_{start:06d}_{stop:06d}.npz").unlink()

    def write_dense(self, number: int, dense: DensePass) -> None:
        """Write the dense maps of pass `number`."""
        low = dense.log_depth.min(axis=(1, 2))
        span = np.maximum(dense.log_depth.max(axis=(1, 2)) - low, 1e-6)
        records = np.zeros(2, _record(dense))
        for v, record in enumerate(records):
            levels = (dense.log_depth[v] - low[v]) / span[v] * 65535
            record["log_depth"], record["low"], record["span"] = np.round(levels), low[v], span[v]
            record["confidence"] = np.minimum(dense.confidence[v], 6e4)
            record["valid"] = np.packbits(dense.valid[v])
            record["motion"] = dense.motion[v]
            record["flow"] = np.clip(dense.flow[v], -6e4, 6e4)
            record["visible"] = np.packbits(dense.flow_visible[v])
            if dense.scene_flow is not None:
                record["scene_flow"] = dense.scene_flow[v]
        save_checked(self._dense(number), records)

    def read_view(self, number: int, view: int) -> PassView:
        """What pass `number` says of the frame of its view 0 or 1."""
        record = self._records(number)[view]
        return PassView(
            log_depth=_log_depth(record),
            confidence=_single(record["confidence"]),
            valid=_bits(record, "valid"),
            motion=_single(record["motion"]),
        )

    def read_flow(self, number: int) -> np.ndarray:
        """Flow (2, H, W, 2) float32 pixels of pass `number`."""
        return _single(self._records(number)["flow"])

    def read_step(self, number: int, view: int) -> PassStep:
        """The way between the frames of pass `number`, which are neighbours, from view 0 or 1."""
        records = self._records(number)
        flow, own = records["flow"], records[view]
        return PassStep(
            flow=flow[view],
            back=flow[1 - view],
            visible=_bits(own, "visible"),
            scene_flow=own["scene_flow"],
            log_depth=_log_depth(own),
        )

    def _dense(self, number: int) -> Path:
        return self.folder / f"pass_{number:06d}.npy"

    def _records(self, number: int) -> np.ndarray:
        return load_array(self._dense(number))

    def write_chunk(self, start: int, stop: int, arrays: dict[str, np.ndarray]) -> None:
        """Write the small arrays of passes start..stop-1; call it after their dense files."""
        with atomic_path(self.folder / f"chunk_{start:06d}_{stop:06d}.npz") as path:
            np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]

    def read_chunks(self) -> dict[str, np.ndarray]:
        """The small arrays of all passes, joined in order along the first axis."""
        parts = []
        for start, stop in self.done():
            parts.append(load_arrays(self.folder / f"chunk_{start:06d}_{stop:06d}.npz"))
        # Parts go as they are joined: of a long clip they are as much as everything that the alignment adds.
        return {k: np.concatenate([part.pop(k) for part in parts]) for k in list(parts[0])}


def _record(dense: DensePass) -> np.dtype:
    """What is stored of one view."""
    size = dense.log_depth.shape[1:]
    packed = (-(-size[0] * size[1] // 8),)
    near = dense.scene_flow is not None
    fields = [
        ("log_depth", np.uint16, size),
        ("low", np.float32),
        ("span", np.float32),
        ("confidence", np.float16, size),
        ("valid", np.uint8, packed),
        ("motion", np.float16, size),
        ("flow", np.float32 if near else np.float16, (*size, 2)),
        ("visible", np.uint8, packed),
    ]
    return np.dtype(fields + [("scene_flow", np.float32, (*size, 3))] * near, align=True)


def _log_depth(record: np.void) -> np.ndarray:
    """(H, W) float32 from its levels."""
    return record["log_depth"] * np.float32(record["span"] / 65535) + record["low"]


def _single(values: np.ndarray) -> np.ndarray:
    """The same in float32; torch converts halves twenty times as fast as numpy."""
    return torch.from_numpy(values).float().numpy()


def _bits(record: np.void, name: str) -> np.ndarray:
    """Packed bits of a record, (H, W) bool."""
    size = record["log_depth"].shape
    return np.unpackbits(record[name], count=size[0] * size[1]).reshape(size).view(bool)

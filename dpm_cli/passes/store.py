"""What is kept of every pass (directed pair) between prediction and fusion: on disk, so that memory stays bounded.

A batch of passes is one small file for the alignment (`chunk_START_STOP.npz`: relative cameras, focals, depth on a
coarse grid) and one dense file a pass for the fusion (`pass_EEEEEE.npz`). The chunk file is written last, so its
existence says that the batch is complete: that is what resuming relies on.

Log depth is quantised to 16 bits over the range of its map: a step is at most 2e-4 for depths that span a factor
of 10^5, far below any predictor's error, at half the bytes of float32. Flow is a result between neighbours, so float32;
of farther frames it is evidence only, and float16 errs by at most 1/32 px for flow of up to 64 px.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
            if not all(self._dense_path(number).is_file() for number in range(start, stop)):
                (self.folder / f"chunk_{start:06d}_{stop:06d}.npz").unlink()

    def _dense_path(self, number: int) -> Path:
        return self.folder / f"pass_{number:06d}.npz"

    def write_dense(self, number: int, dense: DensePass) -> None:
        """Write the dense maps of pass `number`."""
        low = dense.log_depth.min(axis=(1, 2), keepdims=True)
        span = np.maximum(dense.log_depth.max(axis=(1, 2), keepdims=True) - low, 1e-6)
        arrays = {
            "log_depth": np.round((dense.log_depth - low) / span * 65535).astype(np.uint16),
            "low": low,
            "span": span,
            "confidence": np.minimum(dense.confidence, 6e4).astype(np.float16),
            "valid": np.packbits(dense.valid),
            "motion": dense.motion.astype(np.float16),
            "flow": np.clip(dense.flow, -6e4, 6e4).astype(np.float16),
            "flow_visible": np.packbits(dense.flow_visible),
        }
        if dense.scene_flow is not None:
            arrays["flow"] = dense.flow.astype(np.float32)
            arrays["scene_flow"] = dense.scene_flow.astype(np.float32)
        with atomic_path(self._dense_path(number)) as path:
            np.savez(path, **arrays)

    def read_dense(self, number: int) -> DensePass:
        """Read the dense maps of pass `number`."""
        with np.load(self._dense_path(number)) as data:
            shape = data["log_depth"].shape

            def bits(name: str) -> np.ndarray:
                return (
                    np.unpackbits(data[name], count=int(np.prod(shape))).reshape(shape).astype(bool)
                )

            return DensePass(
                log_depth=(data["log_depth"] * (data["span"] / 65535) + data["low"]).astype(
                    np.float32
                ),
                confidence=data["confidence"].astype(np.float32),
                valid=bits("valid"),
                motion=data["motion"].astype(np.float32),
                flow=data["flow"].astype(np.float32),
                flow_visible=bits("flow_visible"),
                scene_flow=data.get("scene_flow"),
            )

    def read_flow(self, number: int) -> np.ndarray:
        """Flow (2, H, W, 2) float32 pixels of pass `number`, without its other maps."""
        with np.load(self._dense_path(number)) as data:
            return data["flow"].astype(np.float32)

    def write_chunk(self, start: int, stop: int, arrays: dict[str, np.ndarray]) -> None:
        """Write the small arrays of passes start..stop-1; call it after their dense files."""
        with atomic_path(self.folder / f"chunk_{start:06d}_{stop:06d}.npz") as path:
            np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]

    def read_chunks(self) -> dict[str, np.ndarray]:
        """The small arrays of all passes, joined in order along the first axis."""
        parts = []
        for start, stop in self.done():
            with np.load(self.folder / f"chunk_{start:06d}_{stop:06d}.npz") as data:
                parts.append({k: data[k] for k in data.files})
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

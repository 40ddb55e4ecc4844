"""Raw frames in one file, read by position.

Reading by position and not through a memory map keeps the resident memory of a run independent of the clip's length.
The index `clip.json` is written last: where it is, the frames are whole.
"""

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpm_cli.files import named_errors, sha256_of, write_json

FRAMES = "clip.rgb"
INDEX = "clip.json"


class ClipStore:
    """Working images of a clip, (T, H, W, 3) uint8 in `clip.rgb`; safe to read from several threads."""

    def __init__(self, folder: Path, count: int, size: tuple[int, int]):
        self.path = folder / FRAMES
        self.count = count
        self.size = size
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - lives as long as the store
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def __reduce__(self):
        """Another process opens the file itself."""
        return ClipStore, (self.path.parent, self.count, self.size)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Images (N, H, W, 3) uint8 RGB."""
        height, width = self.size
        frames = np.empty((len(indices), height, width, 3), np.uint8)
        frame_bytes = height * width * 3
        for row, index in enumerate(indices):
            if not 0 <= index < self.count:
                raise IndexError(f"frame {index} of {self.count}")
            with self._lock:
                self._file.seek(int(index) * frame_bytes)
                self._read_into(memoryview(frames[row]).cast("B"))
        return frames

    def _read_into(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            count = self._file.readinto(view[done:])
            if not count:
                raise EOFError(f"{self.path} is shorter than its index says")
            done += count

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ClipStoreWriter:
    """Appends frames to a store."""

    def __init__(self, folder: Path, size: tuple[int, int]):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.size = size
        self.count = 0
        self._sum = hashlib.sha256()
        (folder / INDEX).unlink(missing_ok=True)
        self._file = open(folder / FRAMES, "wb")  # noqa: SIM115 - closed in finish

    def append(self, frame: np.ndarray) -> None:
        """Add one (H, W, 3) uint8 frame of the store's size."""
        assert frame.shape == (*self.size, 3), frame.shape
        assert frame.dtype == np.uint8, frame.dtype
        with named_errors(self.folder / FRAMES):
            self._file.write(np.ascontiguousarray(frame).data)
        self._sum.update(np.ascontiguousarray(frame).data)
        self.count += 1

    def finish(self, index: dict[str, Any]) -> ClipStore:
        """Write the index; only now the store counts as whole."""
        with named_errors(self.folder / FRAMES):
            self._file.close()
        facts = {"count": self.count, "size": list(self.size), "sha256": self._sum.hexdigest()}
        write_json(self.folder / INDEX, {**index, **facts})
        return ClipStore(self.folder, self.count, self.size)


def drop_torn_store(folder: Path) -> None:
    """Remove the index of a store whose frames are not those that were written, so that it is filled anew."""
    index = read_index(folder)
    if index is not None and index.get("sha256") != sha256_of(folder / FRAMES):
        (folder / INDEX).unlink()


def read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a store, None where there is no whole store."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        height, width = index["size"]
        whole = (folder / FRAMES).stat().st_size == index["count"] * height * width * 3
    except (OSError, ValueError, KeyError):
        return None
    return index if whole else None

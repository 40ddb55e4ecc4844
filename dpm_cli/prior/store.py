"""Estimates of a prior on disk, one file a frame: memory stays bounded and a stopped run goes on."""

import re
from pathlib import Path

import numpy as np

from dpm_cli.checked_array import load_arrays
from dpm_cli.files import atomic_path
from dpm_cli.prior.estimate import PriorEstimate, PriorSource
from dpm_cli.progress import Reporter
from dpm_cli.structures import Clip

_NAME = re.compile(r"prior_(\d{6})\.npz")


class PriorStore:
    """A folder of estimates."""

    def __init__(self, folder: Path, numbers: np.ndarray | None = None):
        self.folder, self.numbers = folder, numbers
        folder.mkdir(parents=True, exist_ok=True)

    def done(self) -> set[int]:
        """Frames that are there."""
        found = (_NAME.fullmatch(p.name) for p in self.folder.iterdir())
        return {int(m[1]) for m in found if m}

    def write(self, t: int, estimate: PriorEstimate) -> None:
        """Write frame `t`, atomically."""
        with atomic_path(self.folder / f"prior_{t:06d}.npz") as path:
            np.savez(path, **estimate.to_arrays())  # pyright: ignore[reportArgumentType]

    def read(self, t: int) -> PriorEstimate:
        """Read frame `t`."""
        number = t if self.numbers is None else int(self.numbers[t])
        return PriorEstimate.from_arrays(load_arrays(self.folder / f"prior_{number:06d}.npz"))

    def take(self, numbers: np.ndarray) -> "PriorStore":
        """The frames `numbers` (P,) of this store as 0..P-1."""
        return PriorStore(self.folder, numbers)


def estimate_clip(clip: Clip, source: PriorSource, folder: Path, reporter: Reporter) -> PriorStore:
    """Fill the store in `folder` with every frame that is not there yet."""
    store = PriorStore(folder)
    done = store.done()
    with reporter.task("prior", len(clip)) as advance:
        advance(len(done))
        for t in range(len(clip)):
            if t not in done:
                store.write(t, source.estimate(t, clip.frames.read([t])[0]))
                advance()
    return store

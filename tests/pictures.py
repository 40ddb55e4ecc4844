"""Pictures as the product meets them: a frame reader in memory, and photos in a folder."""

from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from dpm_cli.workshop.synthetic import ClipTruth


@dataclass(frozen=True)
class Frames:
    """A frame reader of images (T, H, W, 3) uint8, or a list of them."""

    images: np.ndarray | list[np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices) -> np.ndarray:
        return np.stack([self.images[i] for i in indices])


def write_photos(folder: Path, truth: ClipTruth) -> Path:
    """The frames of a clip as 000.png, 001.png, ...; returns the folder."""
    for t, image in enumerate(truth.images[0].permute(0, 2, 3, 1).numpy()):
        iio.imwrite(folder / f"{t:03d}.png", image)
    return folder

"""Masks that the user gives: non-zero pixels move by themselves, whatever the predictor thinks.

Alpha is no motion: a transparent pixel is black, an opaque one is what its colour says. A mask shows the whole source,
at any size of its aspect; of a source with bars also the picture alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dpm_cli.errors import InputError
from dpm_cli.files import PICTURE_DAMAGE, reads
from dpm_cli.geometry.camera import source_from_working
from dpm_cli.structures import Clip, PairPrediction
from dpm_cli.video.bars import shown_area
from dpm_cli.video.images import image_size, open_image, read_image
from dpm_cli.video.inputs import folder_images

_CERTAIN = 8.0
"""Log odds of a pixel that the user has marked."""
_ASPECT_TOLERANCE = 0.03
"""Relative: working sizes are rounded to multiples of up to 16 pixels."""
_LOSSY = frozenset((".jpg", ".jpeg", ".webp"))
_LOSSY_LEVEL = 127
"""Compression leaves grey around what is marked, so there only the brighter half counts as non-zero."""


@dataclass(frozen=True, eq=False)
class UserMasks:
    """One mask a frame."""

    paths: tuple[Path, ...]
    size: tuple[int, int]
    """(height, width) of the working images."""
    mask_from_working: np.ndarray
    """(3, 3) working pixel to a mask of `mask_size`."""
    mask_size: tuple[int, int]

    @classmethod
    def find(cls, folder: Path, clip: Clip) -> "UserMasks":
        """One mask per source frame, or one per frame of the clip, in natural order of the file names.

        Raises:
            InputError: none there, not enough, of different sizes, or of another aspect than the source.
        """
        paths = folder_images(folder) if folder.is_dir() else []
        count = len(clip)
        if not paths:
            raise InputError(f"--mask-dir {folder}: no masks (images) there")
        if len(paths) != count:
            if len(paths) <= int(clip.frame_index.max()):
                raise InputError(
                    f"--mask-dir {folder}: {len(paths)} masks for {count} frames; give one for each frame"
                )
            paths = [paths[i] for i in clip.frame_index]
        size = image_size(paths[0])
        other = next((p for p in paths if image_size(p) != size), None)
        if other is not None:
            raise InputError(
                f"--mask-dir {folder}: {other.name} is {_text(image_size(other))}, "
                f"{paths[0].name} is {_text(size)}; give masks of one size"
            )
        return cls(tuple(paths), clip.size, _mask_from_working(size, clip, folder), size)

    def take(self, frames: np.ndarray) -> "UserMasks":
        """The masks of some frames."""
        return replace(self, paths=tuple(self.paths[t] for t in frames))

    def read(self, t: int) -> np.ndarray:
        """(H, W) bool at the working size, by the nearest pixel of the mask."""
        marked = _marked(self.paths[t])
        A = self.mask_from_working
        axes = [
            np.clip(np.rint(np.arange(self.size[i]) * A[k, k] + A[k, 2]), 0, self.mask_size[i] - 1)
            for i, k in ((0, 1), (1, 0))
        ]
        return marked[np.ix_(axes[0].astype(int), axes[1].astype(int))]

    def apply(self, prediction: PairPrediction, pairs: np.ndarray) -> PairPrediction:
        """The prediction with its motion logit replaced by the masks of pairs (B, 2)."""
        marked = np.stack([[self.read(int(i)), self.read(int(j))] for i, j in pairs])
        logit = torch.where(torch.from_numpy(marked), _CERTAIN, -_CERTAIN).to(prediction.points)
        return replace(prediction, motion_logit=logit)


@reads("a mask", *PICTURE_DAMAGE)
def _marked(path: Path) -> np.ndarray:
    """(H, W) bool of the mask's own pixels; numbers of objects of 16 bit count from 1 on."""
    with open_image(path) as image:
        if image.mode[0] in "IF":
            numbers: np.ndarray = np.array(image)
            return numbers > 0
    level = _LOSSY_LEVEL if path.suffix.lower() in _LOSSY else 0
    return read_image(path).max(-1) > level


def _mask_from_working(size: tuple[int, int], clip: Clip, folder: Path) -> np.ndarray:
    """Affine (3, 3) from working pixels to those of masks of `size` (height, width)."""
    area = shown_area(clip.source_from_working, clip.size)
    if _same_aspect(size, clip.source_size, clip.pixel_aspect):
        mask_from_source = source_from_working(size, clip.source_size).numpy()
        return mask_from_source @ clip.source_from_working
    if _same_aspect(size, area.size, clip.pixel_aspect):
        return source_from_working(size, clip.size).numpy()
    raise InputError(
        f"--mask-dir {folder}: masks are {_text(size)}, the source is {_text(clip.source_size)}: "
        "give masks of the source's aspect"
    )


def _same_aspect(size: tuple[int, int], other: tuple[int, int], pixel_aspect: float) -> bool:
    """Whether the sides have one ratio, in pixels of the source or in square ones."""
    ratio = size[1] / size[0] * other[0] / other[1]
    return min(abs(np.log(ratio)), abs(np.log(ratio / pixel_aspect))) < _ASPECT_TOLERANCE


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"

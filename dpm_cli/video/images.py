"""Image files as 8-bit RGB, upright: EXIF orientation, grey, palette, transparency and 16 bit are resolved here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from dpm_cli.errors import InputError, MemoryExhaustedError, MissingExtraError
from dpm_cli.files import DAMAGE, PICTURE_DAMAGE
from dpm_cli.picture_limit import refuse_large, too_large

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
    + (".heic", ".heif", ".hif", ".avif")
)
_HEIF = frozenset((".heic", ".heif", ".hif"))
_TIFF_SIDES = (256, 257)
_UPRIGHT_SWAPS = frozenset((5, 6, 7, 8))
_ORIENTATION = 0x0112


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) after EXIF orientation, from the header alone.

    Raises:
        InputError: missing or not an image.
    """
    try:
        with open_image(path) as image:
            width, height = _stored_size(image)
            turned = image.getexif().get(_ORIENTATION) in _UPRIGHT_SWAPS
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except MemoryError as error:
        raise MemoryExhaustedError(f"{path} needs more memory than there is") from error
    except (*DAMAGE, *PICTURE_DAMAGE) as error:
        deep = _by_opencv(path)
        if deep is None:
            raise InputError(f"{path} cannot be read as an image") from error
        return deep.shape[0], deep.shape[1]
    return (width, height) if turned else (height, width)


def read_image(path: Path) -> np.ndarray:
    """The image as (H, W, 3) uint8 RGB; transparent pixels are laid on black.

    Raises:
        InputError: missing, damaged or not an image.
    """
    try:
        with open_image(path) as image:
            deep = image.mode.startswith("I") or image.mode == "F"
            upright = ImageOps.exif_transpose(image)
            return _deep_to_rgb(np.asarray(upright)) if deep else _to_rgb(upright)
    except MemoryError as error:
        raise MemoryExhaustedError(f"{path} needs more memory than there is") from error
    except (*DAMAGE, *PICTURE_DAMAGE) as error:
        deep = _by_opencv(path)
        if deep is not None:
            return deep
        raise InputError(
            f"{path} cannot be read as an image: it is damaged or of another kind"
        ) from error


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The image file, its pixels not yet read.

    Raises:
        MissingExtraError: it is HEIC, and the extra `heif` is not installed.
        InputError: it has more than `picture_limit.MOST_PIXELS`.
        OSError: missing, or no image that Pillow knows.
    """
    if path.suffix.lower() in _HEIF:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise MissingExtraError("pillow-heif", "heif") from error
        register_heif_opener()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of odd but readable tags, and of sizes that are allowed here
        try:
            image = Image.open(path)
        except Image.DecompressionBombError:
            raise InputError(too_large(path, "its size")) from None
        with image:
            refuse_large(path, image.width, image.height)
            yield image


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) before EXIF orientation; Pillow turns the size of TIFF files itself."""
    tags = getattr(image, "tag_v2", None)
    return image.size if tags is None else (tags[_TIFF_SIDES[0]], tags[_TIFF_SIDES[1]])


def _by_opencv(path: Path) -> np.ndarray | None:
    """(H, W, 3) uint8 of TIFF files that Pillow cannot read: colour of 16 bit or float; None for anything else."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if stored is None or stored.ndim != 3 or stored.shape[2] < 3:
        return None
    return np.ascontiguousarray(_to_byte(stored[..., 2::-1]))


def _to_rgb(image: Image.Image) -> np.ndarray:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.array(image.convert("RGB"))
    rgba = image.convert("RGBA")
    black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return np.array(Image.alpha_composite(black, rgba).convert("RGB"))


def _deep_to_rgb(grey: np.ndarray) -> np.ndarray:
    """Grey of 16 bit or float: full range of 16 bit to 8, floats in [0, 1] to 8."""
    return np.repeat(_to_byte(grey)[..., None], 3, -1)


def _to_byte(deep: np.ndarray) -> np.ndarray:
    scale = 255.0 if deep.dtype.kind == "f" else 255.0 / 65535.0
    return np.clip(np.nan_to_num(deep.astype(np.float64)) * scale + 0.5, 0, 255).astype(np.uint8)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Image (H, W, 3) uint8 at `size` (height, width): area average when shrinking, Lanczos when enlarging."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinking = width <= image.shape[1] and height <= image.shape[0]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LANCZOS4
    )

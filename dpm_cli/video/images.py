"""Image files as 8-bit RGB, upright: EXIF orientation, grey, palette, transparency and 16 bit are resolved here."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dpm_cli.errors import InputError

IMAGE_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
)
_UPRIGHT_SWAPS = frozenset((5, 6, 7, 8))
_ORIENTATION = 0x0112


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) after EXIF orientation, from the header alone.

    Raises:
        InputError: missing or not an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _UPRIGHT_SWAPS
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path} cannot be read as an image") from error
    return (width, height) if turned else (height, width)


def read_image(path: Path) -> np.ndarray:
    """The image as (H, W, 3) uint8 RGB; transparent pixels are laid on black.

    Raises:
        InputError: missing, damaged or not an image.
    """
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I") or image.mode == "F"
            upright = ImageOps.exif_transpose(image)
            return _deep_to_rgb(np.asarray(upright)) if deep else _to_rgb(upright)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise InputError(
            f"{path} cannot be read as an image: it is damaged or of another kind"
        ) from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.array(image.convert("RGB"))
    rgba = image.convert("RGBA")
    black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return np.array(Image.alpha_composite(black, rgba).convert("RGB"))


def _deep_to_rgb(grey: np.ndarray) -> np.ndarray:
    """Grey of 16 bit or float: full range of 16 bit to 8, floats in [0, 1] to 8."""
    scale = 255.0 if grey.dtype.kind == "f" else 255.0 / 65535.0
    byte = np.clip(np.nan_to_num(grey.astype(np.float64)) * scale + 0.5, 0, 255).astype(np.uint8)
    return np.repeat(byte[..., None], 3, -1)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Image (H, W, 3) uint8 at `size` (height, width): area average when shrinking, Lanczos when enlarging."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinking = width <= image.shape[1] and height <= image.shape[0]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LANCZOS4
    )

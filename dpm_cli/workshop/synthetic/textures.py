"""A pool of tileable textures with the statistics of natural images, made from numbers alone.

Kinds: dead leaves (occluding shapes of power-law size, each with 1/f noise: natural spectra and sharp edges), plain
1/f noise, warped bands (wood, marble), bricks and checks, text-like rows of glyphs, almost flat. Each split has its own
pool. Textures are SIDE x SIDE with all mip levels in one flat row, packed as 0x00BBGGRR int32: one gather a texel.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from dpm_cli.workshop.synthetic.seeds import SPLITS

SIDE = 256
LEVELS = 9
POOL = 128
"""Textures per split."""
TEXELS = sum((SIDE >> k) ** 2 for k in range(LEVELS))
_KINDS = ("leaves", "leaves", "leaves", "noise", "bands", "bricks", "text", "flat")


def _noise(rng: np.random.Generator, slope: float, channels: int = 1) -> np.ndarray:
    """Tileable noise (SIDE, SIDE, channels) with amplitude 1/f^slope, zero mean, unit deviation."""
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    radius = np.hypot(fy, fx)
    radius[0, 0] = np.inf
    white = np.fft.rfft2(rng.standard_normal((channels, SIDE, SIDE)))
    noise = np.fft.irfft2(white / radius**slope, s=(SIDE, SIDE))
    return (noise / noise.std(axis=(1, 2), keepdims=True)).transpose(1, 2, 0).astype(np.float32)


def _palette(rng: np.random.Generator, n: int) -> np.ndarray:
    """Colours (n, 3) around one random hue: mostly muted, as in photographs."""
    base = rng.uniform(0.3, 0.7) + rng.normal(0, 0.09, 3)
    grey = rng.uniform(0.08, 0.92, (n, 1))
    chroma = rng.normal(0, rng.uniform(0.02, 0.13), (n, 3))
    return np.clip(0.35 * base + 0.65 * grey + chroma, 0.02, 0.98).astype(np.float32)


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """Dead leaves: later shapes cover earlier ones, sizes follow a power law (Lee, Mumford, Huang 2001)."""
    count = 420
    grain = _noise(rng, rng.uniform(0.8, 1.3))
    image = np.broadcast_to(_palette(rng, 1)[0], (SIDE, SIDE, 3)).copy()
    image += 0.08 * grain
    low, high = 2.0, rng.uniform(30, 80)
    u = rng.uniform(size=count)
    radius = (low**-1.5 + u * (high**-1.5 - low**-1.5)) ** (-1 / 1.5)
    radius = radius if rng.uniform() < 0.5 else np.sort(radius)[::-1]
    colours, strength = _palette(rng, count), rng.uniform(0.02, 0.15, count)
    power = rng.choice([1.0, 2.0, 2.0, 6.0])
    for k in range(count):
        r, aspect, angle = radius[k], rng.uniform(0.4, 1), rng.uniform(0, np.pi)
        cy, cx = rng.integers(0, SIDE, 2)
        span = np.arange(-int(r) - 1, int(r) + 2)
        c, d = np.float32(np.cos(angle) / r), np.float32(np.sin(angle) / r)
        x = (span * c)[None] + (span * d)[:, None]
        y = ((span * c)[:, None] - (span * d)[None]) / np.float32(aspect)
        inside = _power(x, power) + _power(y, power) < 1
        rows, cols = (cy + span) % SIDE, (cx + span) % SIDE
        window = np.ix_(rows, cols)
        patch = colours[k] + strength[k] * grain[window]
        image[window] = np.where(inside[..., None], patch, image[window])
    return image


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    """|x|^exponent by products: the exponents in use are 1, 2 and 6."""
    if exponent == 1:
        return np.abs(x)
    square = x * x
    return square if exponent == 2 else square * square * square


def _plain_noise(rng: np.random.Generator) -> np.ndarray:
    colours = _palette(rng, 2)
    noise = _noise(rng, rng.uniform(0.7, 1.5))
    mixing = 1 / (1 + np.exp(-rng.uniform(0.7, 3) * noise))
    return colours[0] + (colours[1] - colours[0]) * mixing + 0.04 * _noise(rng, 1.0, 3)


def _bands(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    kx, ky = rng.integers(-6, 7, 2)
    phase = kx * x + ky * y + rng.uniform(0.05, 0.5) * _noise(rng, 1.6)[..., 0]
    wave = np.sin(2 * np.pi * phase)
    if rng.uniform() < 0.5:
        wave = np.tanh(wave * rng.uniform(2, 12))
    colours = _palette(rng, 2)
    return (
        colours[0]
        + (colours[1] - colours[0]) * (0.5 + 0.5 * wave[..., None])
        + 0.05 * _noise(rng, 1.0)
    )


def _bricks(rng: np.random.Generator) -> np.ndarray:
    rows, cols = 2 * int(rng.integers(2, 9)), int(rng.integers(2, 9))
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    row = np.floor(y * rows).astype(int)
    shifted = (x + (row % 2) * rng.choice([0, 0.5]) / cols) % 1
    col = np.floor(shifted * cols).astype(int)
    fy, fx = y * rows - row, shifted * cols - col
    joint = np.minimum(np.minimum(fy, 1 - fy) / rows, np.minimum(fx, 1 - fx) / cols)
    tone = _palette(rng, rows * cols) * rng.uniform(0.3, 1) + _palette(rng, 1) * 0.4
    image = tone[(row * cols + col) % len(tone)]
    gap = rng.choice([0, 0.004, 0.01])
    image = np.where((joint < gap)[..., None], _palette(rng, 1)[0], image)
    return image + 0.06 * _noise(rng, 1.0)


def _text(rng: np.random.Generator) -> np.ndarray:
    """Rows of glyphs: each glyph is a few strokes on a 5 x 7 grid, words and lines of varying size."""
    paper, ink = _palette(rng, 2)
    if np.abs(paper - ink).sum() < 0.6:
        ink = 1 - paper
    mask = np.zeros((SIDE, SIDE), bool)
    glyphs = rng.uniform(size=(26, 7, 5)) < 0.45
    glyphs[:, :, rng.integers(0, 5)] = True
    top = 0
    while top < SIDE - 8:
        cell = int(rng.choice([1, 1, 2, 2, 3, 5]))
        left = int(rng.integers(0, 20))
        while left + 6 * cell < SIDE and top + 7 * cell < SIDE:
            if rng.uniform() > 0.18:
                glyph = np.kron(glyphs[rng.integers(26)], np.ones((cell, cell), bool))
                mask[top : top + 7 * cell, left : left + 5 * cell] = glyph
            left += 6 * cell
        top += int(cell * rng.integers(9, 14))
    return np.where(mask[..., None], ink, paper) + 0.03 * _noise(rng, 1.2)


def _flat(rng: np.random.Generator) -> np.ndarray:
    return _palette(rng, 1)[0] + rng.uniform(0.0, 0.03) * _noise(rng, 1.2)


_MAKERS = {
    "leaves": _leaves,
    "noise": _plain_noise,
    "bands": _bands,
    "bricks": _bricks,
    "text": _text,
    "flat": _flat,
}


def make_texture(split: int, index: int) -> np.ndarray:
    """Texture (SIDE, SIDE, 3) float32 in [0, 1]; the kind follows from the index."""
    rng = np.random.default_rng((0x7E87, split, index))
    return np.clip(_MAKERS[_KINDS[index % len(_KINDS)]](rng), 0, 1).astype(np.float32)


def _pack(image: np.ndarray) -> np.ndarray:
    """All mip levels of an image as one int32 row (TEXELS,)."""
    levels = []
    for _ in range(LEVELS):
        rgb = (image * 255 + 0.5).astype(np.int32)
        levels.append((rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16).ravel())
        if len(image) > 1:
            image = image.reshape(len(image) // 2, 2, len(image) // 2, 2, 3).mean((1, 3))
    return np.concatenate(levels)


def level_offset(level: Tensor) -> Tensor:
    """Where mip levels (int64) start in a texture's row: TEXELS less the levels from there on, each a fourth."""
    return TEXELS - (TEXELS >> 2 * level)


@cache
def _pool(device: torch.device) -> tuple[Tensor, set[int]]:
    """Texels of all pools on a device, zero until needed (so the pages cost nothing), and which textures are there."""
    return torch.zeros(len(SPLITS) * POOL * TEXELS, dtype=torch.int32, device=device), set()


def gather_textures(split: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Flat texels and where each texture starts, for the textures that a batch of scenes uses.

    Args:
        split: (B,) number of the split of each scene.
        index: (B, ...) texture numbers in [0, POOL).

    Returns:
        texels int32 of all textures, those in use filled in, and offsets like `index`, both on its device.
    """
    key = split.reshape(-1, *[1] * (index.ndim - 1)) * POOL + index
    texels, made = _pool(index.device)
    for k in set(key.unique().tolist()) - made:
        row = torch.from_numpy(_pack(make_texture(k // POOL, k % POOL)))
        texels[k * TEXELS : (k + 1) * TEXELS] = row.to(index.device)
        made.add(k)
    return texels, key * TEXELS

"""What the built-in predictors say of clips that say little: one table, to be read for confident lies.

    python tests/odd_clips.py OUT [--models geometric dpm-mini] [--frames 6] [--size 128x192] [--only NAME ...]

Every clip is a folder of pictures. A row has what the manifest and the frames say: cameras that are known, the camera's
path over the median depth and its turn (both from the first frame to the farthest), median confidence of the valid
pixels, share of them that moves, and the notes.
"""

import argparse
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np

from dpm_cli.config import ReconstructSettings
from dpm_cli.pipeline import reconstruct
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.synthetic import render_clip, scene_seed

_SEED = scene_seed("test", 1)


def rendered(frames: int, size: tuple[int, int], camera: str) -> list[np.ndarray]:
    """A scene with movers."""
    clip = render_clip(_SEED, frames, size, camera=camera)
    return list(clip.images[0].permute(0, 2, 3, 1).numpy())


def noise(count: int, size: tuple[int, int], blur: float = 0.0) -> list[np.ndarray]:
    """Pictures that have nothing in common: white noise, or blotches of `blur` pixels."""
    images = []
    for t in range(count):
        values = np.random.default_rng(t).normal(size=(*size, 3)).astype(np.float32)
        values = cv2.GaussianBlur(values, (0, 0), blur) if blur else values
        images.append(np.clip(128 + 50 * values / values.std(), 0, 255).astype(np.uint8))
    return images


def tiles(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Twelve textures, each sliding its own way behind its window: no camera's motion explains two of them."""
    height, width = size
    steps = np.random.default_rng(5).integers(-3, 4, (12, 2))
    textures = noise(12, size, 3)
    row, column = np.arange(height)[:, None] * 3 // height, np.arange(width) * 4 // width
    number = (4 * row + column)[..., None]
    images = []
    for t in range(count):
        slid = [np.roll(x, t * step, (0, 1)) for x, step in zip(textures, steps, strict=True)]
        images.append(np.choose(number, slid))
    return images


def clips(frames: int, size: tuple[int, int]) -> dict[str, list[np.ndarray]]:
    """Every case by its name."""
    still, turning = (rendered(frames, size, c) for c in ("still", "pan"))
    orbit = rendered(frames, size, "orbit")
    grain = np.random.default_rng(9)
    shade = 120 + 20 * np.linspace(0, 1, size[1])[:, None]
    wall = [shade + grain.normal(0, 1, (*size, 3)) for _ in range(frames)]
    moving = tiles(frames, size)
    scenes = [rendered(1, size, "still")[0]]
    for seed in range(2, frames + 1):
        image = render_clip(scene_seed("test", seed), 1, size, camera="still").images[0, 0]
        scenes.append(image.permute(1, 2, 0).numpy())
    return {
        "moving camera": orbit,
        "still camera": still,
        "pure rotation": turning,
        "no texture": [w.astype(np.uint8) for w in wall],
        "all moving": moving,
        "black frames": [np.zeros((*size, 3), np.uint8)] * frames,
        "black in between": [*orbit[:2], np.zeros_like(orbit[0]), *orbit[3:]],
        "duplicates": [orbit[0]] * frames,
        "white noise": noise(frames, size),
        "blotches": noise(frames, size, 4),
        "other scene each": scenes,
    }


def row(name: str, model: str, sequence: Sequence4D) -> dict[str, str]:
    """What is said of one clip."""
    manifest = sequence.manifest
    assert manifest is not None
    depth, valid = sequence.arrays("depth"), sequence.arrays("valid")
    path = np.linalg.norm(sequence.cam2world[:, :3, 3], axis=1).max()
    turn = (np.trace(sequence.cam2world[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    known = valid.any()
    confidence = np.median(sequence.arrays("confidence")[valid]) if known else 0.0
    return {
        "case": name,
        "model": model,
        "cameras": f"{int(sequence.camera_ok.sum())}/{len(sequence)}",
        "path": f"{path / np.median(depth[valid]) if known else 0:.3f}",
        "turn": f"{np.degrees(np.arccos(np.clip(turn, -1, 1))).max():.1f}",
        "confidence": f"{confidence:.1f}",
        "moving": f"{(sequence.arrays('dynamic')[valid] > 0.5).mean() if known else 0:.2f}",
        "notes": "; ".join(manifest["notes"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=["geometric", "dpm-mini"])
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", default="128x192")
    parser.add_argument("--only", nargs="*", help="cases")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    keys = None
    for name, images in clips(args.frames, (height, width)).items():
        if args.only and name not in args.only:
            continue
        source = args.out / name.replace(" ", "_")
        source.mkdir(parents=True, exist_ok=True)
        for t, image in enumerate(images):
            iio.imwrite(source / f"{t:03d}.png", image)
        for model in args.models:
            settings = ReconstructSettings(model=model, device="cpu", prior="none", formats=())
            run = args.out / f"{source.name}_{model}"
            said = row(name, model, reconstruct(str(source), run, settings, overwrite=True))
            if keys is None:
                keys = list(said)
                print("| " + " | ".join(keys) + " |\n" + "|---" * len(keys) + "|")
            print("| " + " | ".join(said.values()) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Exports that other reconstruction tools start from: images at the source size, cameras, static points."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from dpm_cli.config import ExportOptions
from dpm_cli.errors import InputError
from dpm_cli.export.clouds import comments, relative_times, static_cloud, with_some_normals
from dpm_cli.export.observations import observations_of
from dpm_cli.export.source_images import source_images
from dpm_cli.export.source_size import resample
from dpm_cli.files import atomic_path
from dpm_cli.formats.colmap import write_colmap
from dpm_cli.formats.colmap_binary import write_colmap_binary
from dpm_cli.formats.colmap_model import ColmapModel
from dpm_cli.formats.mask_png import write_mask
from dpm_cli.formats.ply import write_ply
from dpm_cli.formats.transforms_json import TransformsFile, write_transforms
from dpm_cli.sequence import Sequence4D

SEED_POINTS = 100_000
"""Points that such tools are given where the user names no number."""


def export_colmap(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/sparse/0 (text and binary), images and masks; static points and registered cameras only.

    Images are without lens distortion, as everything here is. Masks have the names of the images and are 0 where
    something moves, as trainers of static scenes expect; points without an observation are left out.

    Raises:
        InputError: no camera is registered.
    """
    used = _registered(sequence)
    names = _write_images(sequence, path / "images", used, options)
    _write_masks(sequence, path / "masks", used, options)
    cloud = static_cloud(sequence, _seeded(options))
    seen = observations_of(sequence, cloud.points, used, sequence.motion_threshold)
    observed, number = np.unique(seen.point, return_inverse=True)
    model = ColmapModel(
        names=names,
        size=sequence.source_area.size,
        intrinsics=_image_intrinsics(sequence)[used],
        cam2world=sequence.cam2world[used],
        cloud=cloud.take(observed),
        observations=replace(seen, point=number),
    )
    write_colmap(path / "sparse" / "0", model)
    write_colmap_binary(path / "sparse" / "0", model)
    options.reporter.note("COLMAP models are static: points that move by themselves are left out")


def export_nerfstudio(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/transforms.json, images and points.ply (static points); registered cameras only.

    Raises:
        InputError: no camera is registered.
    """
    used = _registered(sequence)
    names = _write_images(sequence, path / "images", used, options)
    cloud = with_some_normals(static_cloud(sequence, _seeded(options)))
    write_ply(path / "points.ply", cloud, comments(sequence, "static points of all frames"))
    transforms = TransformsFile(
        names=[f"images/{name}" for name in names],
        size=sequence.source_area.size,
        intrinsics=_image_intrinsics(sequence)[used],
        cam2world=sequence.cam2world[used],
        time=relative_times(sequence)[used],
        ply="points.ply",
    )
    write_transforms(path / "transforms.json", transforms)


def _image_intrinsics(sequence: Sequence4D) -> np.ndarray:
    """(T, 3, 3) of the written images: in source pixels, from the corner of the picture without bars."""
    K = sequence.intrinsics_source.copy()
    K[:, 0, 2] -= sequence.source_area.x
    K[:, 1, 2] -= sequence.source_area.y
    return K


def _registered(sequence: Sequence4D) -> np.ndarray:
    used = np.flatnonzero(sequence.camera_ok)
    if not len(used):
        raise InputError("no camera of this run was registered: there is nothing to export")
    return used


def _seeded(options: ExportOptions) -> ExportOptions:
    return options if options.max_points else replace(options, max_points=SEED_POINTS)


def _write_masks(
    sequence: Sequence4D, folder: Path, used: np.ndarray, options: ExportOptions
) -> None:
    """Write a mask for each image of the frames `used`: 255 = stands still."""
    area, A = sequence.source_area, sequence.source_from_working.copy()
    A[:2, 2] -= area.x, area.y
    for t in used:
        score = sequence.read(int(t), "dynamic")
        assert score is not None
        still = resample(score, A, area.size) <= sequence.motion_threshold
        write_mask(folder / f"frame_{t:06d}.png", still)


def _write_images(
    sequence: Sequence4D, folder: Path, used: np.ndarray, options: ExportOptions
) -> list[str]:
    """Write the images of the frames `used` as PNG and return their names."""
    names = []
    with (
        options.reporter.task("images", len(sequence)) as advance,
        source_images(sequence, options) as images,
    ):
        for t, image in enumerate(images):
            if t in used:
                names.append(f"frame_{t:06d}.png")
                with atomic_path(folder / names[-1]) as temporary:
                    Image.fromarray(image).save(temporary, compress_level=1)
            advance()
    return names

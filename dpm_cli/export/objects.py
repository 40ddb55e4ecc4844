"""A folder with the objects of a clip: `objects.json`, `.npz` and `.glb`, a TUM path each, masks at the source size."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpm_cli.config import ExportOptions
from dpm_cli.errors import InputError
from dpm_cli.export.clouds import comments
from dpm_cli.export.scenes import FILE_POINTS, point_scene
from dpm_cli.export.source_size import nearest_to_source
from dpm_cli.files import atomic_path, write_json
from dpm_cli.formats.glb import add_path, still_document
from dpm_cli.formats.object_files import ObjectTable, write_object_table
from dpm_cli.formats.ply import PointCloud
from dpm_cli.formats.scene import PointScene
from dpm_cli.formats.trajectory import Trajectory, write_tum
from dpm_cli.objects import Objects, find_objects
from dpm_cli.sequence import Sequence4D
from dpm_cli.version import __version__

_SOFT = 0.25
"""Median distance from the rigid motion, as a share of the way, above which an object is called soft."""


def export_objects(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write the folder `path`.

    Raises:
        InputError: nothing moves by itself long enough to be an object.
    """
    found = find_objects(sequence, reporter=options.reporter)
    if not found.seen.shape[1]:
        raise InputError(
            "nothing moves by itself long enough to be an object: lower --motion-threshold"
        )
    write_json(path / "objects.json", {"objects": object_facts(sequence, found)})
    table = ObjectTable(
        object_id=found.labels,
        object_poses=found.world_from_object,
        object_seen=found.seen,
        object_residual=found.residual,
        object_moved=found.moved,
        object_size=found.size,
        object_color=found.colors,
        timestamps=sequence.timestamps,
    )
    header = sequence.header.arrays()
    about = ("frame_index", "cam2world", "intrinsics", "source_from_working")
    words = ("convention", "world", "scale", "model")
    write_object_table(path / "objects.npz", table, **{n: header[n] for n in (*about, *words)})
    for n in range(found.seen.shape[1]):
        used = found.seen[:, n]
        trajectory = Trajectory(sequence.timestamps[used], found.world_from_object[used, n])
        text = comments(sequence, f"world from object {n + 1}")
        write_tum(path / f"object_{n + 1:03d}.txt", trajectory, " ".join(text))
    _write_masks(sequence, found, path / "masks")
    _write_glb(sequence, found, path / "objects.glb", options)


def object_facts(sequence: Sequence4D, found: Objects) -> list[dict[str, Any]]:
    """Plain values of every object."""
    facts = []
    for n in range(found.seen.shape[1]):
        frames = np.flatnonzero(found.seen[:, n])
        places = found.world_from_object[frames, n, :3, 3]
        moved, residual = (a[found.moved[:, n] > 0, n] for a in (found.moved, found.residual))
        share = float(np.median(residual / moved)) if len(moved) else 0.0
        facts.append(
            {
                "id": n + 1,
                "first_frame": int(frames[0]),
                "last_frame": int(frames[-1]),
                "first_s": float(sequence.timestamps[frames[0]]),
                "last_s": float(sequence.timestamps[frames[-1]]),
                "kind": "soft" if share > _SOFT else "rigid",
                "residual_share": round(share, 4),
                "size": [float(f"{v:.4g}") for v in found.size[n]],
                "color": "#" + found.colors[n].tobytes().hex(),
                "path_length": float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum()),
                "pixels": int(found.pixels[frames, n].mean()),
            }
        )
    return facts


def object_palette(count: int) -> np.ndarray:
    """Colours (count + 1, 3) uint8 that differ, black first; for eyes only."""
    hue = (np.arange(count) * 0.618034) % 1
    wheel = np.clip(np.abs((hue[:, None] * 6 + (0, 4, 2)) % 6 - 3) - 1, 0, 1)
    colours = np.rint(60 + 195 * wheel).astype(np.uint8)
    return np.concatenate((np.zeros((1, 3), np.uint8), colours))


def _write_masks(sequence: Sequence4D, found: Objects, folder: Path) -> None:
    """Numbers of the objects as PNG, in colours where 8 bits hold them."""
    count = found.seen.shape[1]
    for t in range(len(sequence)):
        A, size = sequence.source_from_working, sequence.source_size
        numbers = nearest_to_source(found.labels[t], A, size)
        image = Image.fromarray(numbers if count > 255 else numbers.astype(np.uint8))
        if count <= 255:
            image.putpalette(object_palette(count).tobytes())
        with atomic_path(folder / f"object_{t:06d}.png") as temporary:
            image.save(temporary, compress_level=4)


def _write_glb(sequence: Sequence4D, found: Objects, path: Path, options: ExportOptions) -> None:
    """What stands still, the camera, and a node for each object with its path."""
    scene: PointScene = point_scene(sequence, options, FILE_POINTS)
    document, times = still_document(scene, f"dpm {__version__}")
    clock = document.accessor(times, "SCALAR", bounds=True)
    for n in range(found.seen.shape[1]):
        node = document.points(f"object_{n + 1:03d}", _own_points(sequence, found, n))
        add_path(document, node, found.world_from_object[:, n], clock)
        frames = np.flatnonzero(found.seen[:, n])
        shown = np.zeros((len(sequence), 3), np.float32)
        shown[frames[0] : frames[-1] + 1] = 1
        document.json["nodes"][node]["scale"] = shown[0].tolist()
        document.animate(node, "scale", clock, document.accessor(shown, "VEC3"), "STEP")
    document.write(path)


def _own_points(sequence: Sequence4D, found: Objects, n: int) -> PointCloud:
    """Points of object `n` in its own frame, from the frame of the clip in which most of it is seen."""
    t = int(found.largest[n])
    frame, pose, mask = sequence.frame(t), found.world_from_object[t, n], found.labels[t] == n + 1
    points = frame.points(sequence.cam2world[t], sequence.intrinsics[t])[mask]
    own = (points - pose[:3, 3]) @ pose[:3, :3]
    return PointCloud(own.astype(np.float32), frame.image[mask])

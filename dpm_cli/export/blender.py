"""A folder for Blender: `scene.npz` and `import_into_blender.py`, which builds the scene from it."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from dpm_cli.config import ExportOptions
from dpm_cli.export.scenes import FILE_POINTS, point_scene
from dpm_cli.files import atomic_path
from dpm_cli.formats.scene import PointScene
from dpm_cli.sequence import Sequence4D

SCRIPT = "import_into_blender.py"


def export_blender(sequence: Sequence4D, path: Path, options: ExportOptions) -> None:
    """Write `path`/scene.npz and the script, to be run as `blender --python path/import_into_blender.py`."""
    scene = point_scene(sequence, options, FILE_POINTS)
    with atomic_path(path / "scene.npz") as temporary:
        np.savez(temporary, **_arrays(scene))
    with (
        as_file(files("dpm_cli.formats").joinpath("blender_script.py")) as script,
        atomic_path(path / SCRIPT) as temporary,
    ):
        shutil.copyfile(script, temporary)
    options.reporter.note(f"open it with: blender --python {path / SCRIPT}")


def _arrays(scene: PointScene) -> dict:
    """What the script reads; everything in OpenCV axes."""
    clouds = (scene.still, *scene.moving)
    return {
        "name": scene.name,
        "counts": np.array([len(cloud) for cloud in clouds]),
        "points": np.concatenate([cloud.points for cloud in clouds]),
        "colors": np.concatenate([cloud.colors for cloud in clouds]),
        "cam2world": scene.cam2world,
        "intrinsics": scene.intrinsics,
        "size": np.array(scene.size),
        "timestamps": scene.timestamps,
        "distance": scene.distance,
    }

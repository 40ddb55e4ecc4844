"""The folder for Blender: what the script reads; Blender itself is asked where it is installed."""

import subprocess
import sys

import numpy as np
import pytest
from toy_sequence import toy_sequence

from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.clouds import moving_cloud, static_cloud

LOOK = """
import runpy, sys
import bpy, numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector
bpy.ops.wm.read_factory_settings(use_empty=True)
from pathlib import Path
folder = Path(sys.argv[1])
runpy.run_path(str(folder / "import_into_blender.py"))["build"](folder)
scene, mesh = bpy.context.scene, bpy.data.objects["still"].data
places = np.empty(len(mesh.vertices) * 3)
mesh.vertices.foreach_get("co", places)
seen, shown = [], []
for t in range(scene.frame_end):
    scene.frame_set(t + 1)
    seen.append([world_to_camera_view(scene, scene.camera, Vector(p)) for p in places.reshape(-1, 3)[::37]])
    shown.append([not o.hide_render for o in bpy.data.objects if o.name.startswith("moving")])
np.savez(folder / "seen.npz", seen=np.array(seen), shown=shown)
"""


@pytest.fixture
def sequence():
    sequence = toy_sequence()
    # A principal point off the middle, so that the lens must shift.
    sequence.intrinsics[:, 0, 2] += 3
    sequence.intrinsics[:, 1, 2] -= 2
    return sequence


def test_the_folder_holds_the_scene_and_the_script(sequence, tmp_path):
    options = ExportOptions(min_confidence=3.0)
    export_sequence(sequence, "blender", tmp_path / "b", options)
    clouds = [static_cloud(sequence, options)]
    clouds += [moving_cloud(sequence, t, options) for t in range(4)]
    with np.load(tmp_path / "b" / "scene.npz", allow_pickle=False) as found:
        assert found["counts"].tolist() == [len(c) for c in clouds]
        assert np.array_equal(found["points"], np.concatenate([c.points for c in clouds]))
        assert np.array_equal(found["colors"], np.concatenate([c.colors for c in clouds]))
        assert np.array_equal(found["cam2world"], sequence.cam2world)
        assert found["size"].tolist() == [24, 36]
    text = (tmp_path / "b" / "import_into_blender.py").read_text()
    assert "dpm_cli" not in text
    compile(text, "script", "exec")


def test_blender_sees_points_where_our_camera_does(sequence, tmp_path):
    pytest.importorskip("bpy")
    export_sequence(sequence, "blender", tmp_path)
    (tmp_path / "look.py").write_text(LOOK)
    subprocess.run([sys.executable, tmp_path / "look.py", tmp_path], check=True, timeout=100)
    points = static_cloud(sequence, ExportOptions()).points[::37]
    with np.load(tmp_path / "seen.npz") as found:
        assert np.array_equal(found["shown"], np.eye(4, dtype=bool))
        for t in range(4):
            view = found["seen"][t]
            seen = np.stack((view[:, 0] * 36 - 0.5, (1 - view[:, 1]) * 24 - 0.5), -1)
            ours = (points - sequence.cam2world[t, :3, 3]) @ sequence.cam2world[t, :3, :3]
            ours = ours @ sequence.intrinsics[t].T
            assert seen == pytest.approx(ours[:, :2] / ours[:, 2:], abs=1e-2)

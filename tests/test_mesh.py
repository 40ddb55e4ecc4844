"""The fused mesh and its files, read back by our readers and by Open3D, which is not ours."""

import sys

import numpy as np
import pytest
from toy_sequence import NORMAL, OFFSET, toy_sequence

from dpm_cli.errors import InputError, UsageError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.mesh import static_mesh
from dpm_cli.formats.mesh import TriangleMesh
from dpm_cli.formats.mesh_files import read_mesh, write_mesh
from dpm_cli.formats.scene import FLIP
from dpm_cli.outputs import OUTPUTS

SUFFIXES = OUTPUTS["mesh"].suffixes


@pytest.fixture
def mesh():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(5, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return TriangleMesh(
        rng.normal(size=(5, 3)).astype(np.float32),
        np.array([(0, 1, 2), (2, 3, 4), (4, 0, 1)], np.int32),
        rng.integers(0, 256, (5, 3), dtype=np.uint8),
        normals.astype(np.float32),
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mesh_comes_back(mesh, suffix, tmp_path):
    write_mesh(tmp_path / f"a{suffix}", mesh)
    found = read_mesh(tmp_path / f"a{suffix}")
    assert found.vertices == pytest.approx(mesh.vertices, abs=1e-6)
    assert found.normals == pytest.approx(mesh.normals, abs=1e-4)
    assert np.array_equal(found.triangles, mesh.triangles)
    assert np.array_equal(found.colors, mesh.colors)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_open3d_reads_the_same_mesh(mesh, suffix, tmp_path):
    o3d = pytest.importorskip("open3d")
    write_mesh(tmp_path / f"a{suffix}", mesh)
    found = o3d.io.read_triangle_mesh(str(tmp_path / f"a{suffix}"))
    axes = FLIP if suffix == ".glb" else np.eye(3)
    corners = np.asarray(found.vertices)[np.asarray(found.triangles)]
    assert corners == pytest.approx((mesh.vertices @ axes)[mesh.triangles], abs=1e-5)
    colors = np.asarray(found.vertex_colors)[np.asarray(found.triangles)] * 255
    # Open3D itself rounds the colours of glTF down.
    assert colors == pytest.approx(mesh.colors[mesh.triangles], abs=1.01)


def test_the_static_scene_of_the_toy_is_its_plane(tmp_path):
    pytest.importorskip("open3d")
    sequence = toy_sequence()
    mesh = static_mesh(sequence, ExportOptions())
    assert len(mesh.triangles) > 200
    unit = np.linalg.norm(NORMAL)
    off = (mesh.vertices @ NORMAL - OFFSET) / unit
    voxel = 3 * 4 / 40
    assert np.abs(off).max() < 0.1 * voxel
    # Triangles look at the cameras, which are on the origin's side of the plane.
    a, b, c = mesh.vertices[mesh.triangles].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a) @ NORMAL < 0).all()
    assert (mesh.normals @ NORMAL / unit).max() < -0.9


def test_detail_and_size_follow_the_options(tmp_path):
    pytest.importorskip("open3d")
    sequence = toy_sequence()
    coarse = static_mesh(sequence, ExportOptions(voxel_size=0.4))
    fine = static_mesh(sequence, ExportOptions(voxel_size=0.2))
    assert len(fine.vertices) > 2.5 * len(coarse.vertices)
    small = static_mesh(sequence, ExportOptions(voxel_size=0.2, max_points=60))
    assert 30 < len(small.vertices) <= 66


def test_the_suffix_decides_and_ply_is_the_default(tmp_path):
    pytest.importorskip("open3d")
    sequence = toy_sequence()
    for name, written in (
        ("a", "a.ply"),
        ("b.obj", "b.obj"),
        ("c.glb", "c.glb"),
        ("d.stl", "d.stl.ply"),
    ):
        assert export_sequence(sequence, "mesh", tmp_path / name).path == tmp_path / written
        assert len(read_mesh(tmp_path / written).triangles) > 200


def test_nothing_to_fuse_is_said(tmp_path):
    pytest.importorskip("open3d")
    with pytest.raises(InputError, match="no surface"):
        export_sequence(toy_sequence(), "mesh", tmp_path / "a", ExportOptions(min_confidence=1e9))
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(mesh, tmp_path):
    (tmp_path / "a.ply").write_text("ply\nend_header\n")
    (tmp_path / "a.obj").write_text("v 0 0 0\n")
    for name in ("a.ply", "a.obj", "none.glb", "a.stl"):
        with pytest.raises(InputError):
            read_mesh(tmp_path / name)
    with pytest.raises(UsageError, match="is written as"):
        write_mesh(tmp_path / "a.stl", mesh)


def test_without_open3d_everything_else_works(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", None)
    sequence = toy_sequence()
    options = (
        ("mesh", ExportOptions(), "--to mesh"),
        ("html", ExportOptions(remove_outliers=True), "--remove-outliers"),
        ("glb", ExportOptions(voxel_size=0.5), "--voxel-size"),
        ("ply", ExportOptions(profile="3dgs", normals=True), "--normals"),
    )
    for name, wanted, said in options:
        with pytest.raises(InputError, match=f"{said} needs Open3D"):
            export_sequence(sequence, name, tmp_path / "x", wanted)
    for name in set(OUTPUTS) - {"mesh"} - {o.name for o in OUTPUTS.values() if o.extra}:
        export_sequence(sequence, name, tmp_path / name, ExportOptions(min_views=2))

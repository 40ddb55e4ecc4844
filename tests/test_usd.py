"""USD files, read back and seen through USD's own camera."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from toy_sequence import toy_sequence

from dpm_cli.errors import DpmError, InputError, MissingExtraError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.clouds import moving_cloud, static_cloud


@pytest.fixture(scope="module")
def sequence():
    return toy_sequence()


@pytest.fixture
def path(sequence, tmp_path):
    pytest.importorskip("pxr")
    export_sequence(sequence, "usd", tmp_path / "scene", ExportOptions(min_confidence=3.0))
    return tmp_path / "scene.usd"


def test_what_goes_in_comes_out(sequence, path):
    from dpm_cli.formats.usd import read_usd

    found, options = read_usd(path), ExportOptions(min_confidence=3.0)
    wanted = static_cloud(sequence, options)
    assert found.still.points == pytest.approx(wanted.points)
    assert np.array_equal(found.still.colors, wanted.colors)
    for t in range(4):
        cloud = moving_cloud(sequence, t, options)
        assert found.moving[t].points == pytest.approx(cloud.points)
        assert np.array_equal(found.moving[t].colors, cloud.colors)
    assert found.cam2world == pytest.approx(sequence.cam2world)
    assert found.intrinsics == pytest.approx(sequence.intrinsics, rel=1e-5)
    assert found.timestamps == pytest.approx([0, 0.1, 0.2, 0.3])
    assert (found.name, found.model, found.size) == ("toy", "toy", (24, 36))


def test_usds_own_camera_sees_points_where_ours_does(sequence, path):
    Gf, Usd, UsdGeom = (import_module(f"pxr.{name}") for name in ("Gf", "Usd", "UsdGeom"))
    stage = Usd.Stage.Open(str(path))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert stage.GetTimeCodesPerSecond() == pytest.approx(10)
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/scene/camera"))
    points = np.array(UsdGeom.Points(stage.GetPrimAtPath("/scene/still")).GetPointsAttr().Get())
    for t in range(4):
        frustum = camera.GetCamera(float(t)).frustum
        seen = frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix()
        local = points * (1, -1, -1) - sequence.cam2world[t, :3, 3]
        local = local @ sequence.cam2world[t, :3, :3] @ sequence.intrinsics[t].T
        for n in range(0, len(points), 97):
            x, y, _ = seen.Transform(Gf.Vec3d(points[n].tolist()))
            pixel = ((x + 1) * 18 - 0.5, (1 - y) * 12 - 0.5)
            assert pixel == pytest.approx(local[n, :2] / local[n, 2], abs=1e-3)


def test_points_of_a_frame_are_held_and_not_mixed_with_those_of_the_next(
    sequence, tmp_path, monkeypatch
):
    Usd, UsdGeom = (import_module(f"pxr.{name}") for name in ("Usd", "UsdGeom"))
    monkeypatch.setattr("dpm_cli.export.scenes.FILE_POINTS", (200, 40))
    monkeypatch.setattr("dpm_cli.export.scenes._FRAME_POINTS", 5)
    export_sequence(sequence, "usd", tmp_path / "a")
    stage = Usd.Stage.Open(str(tmp_path / "a.usd"))
    points = UsdGeom.Points(stage.GetPrimAtPath("/scene/moving")).GetPointsAttr()
    first, second = (np.array(points.Get(t)) for t in (0, 1))
    assert first.shape == second.shape == (10, 3)
    assert np.abs(first - second).max() > 0.01
    assert np.array_equal(points.Get(0.5), first)
    assert np.array_equal(points.Get(1.5), second)


def test_a_place_that_cannot_be_written_is_one_line(sequence):
    pytest.importorskip("pxr")
    with pytest.raises((DpmError, OSError), match="sys"):
        export_sequence(sequence, "usd", Path("/sys/scene.usd"))


def test_other_files_are_refused(path, tmp_path):
    from dpm_cli.formats.usd import read_usd

    (tmp_path / "a.usda").write_text("#usda 1.0\n")
    with pytest.raises(InputError, match="no scene of dpm"):
        read_usd(tmp_path / "a.usda")
    with pytest.raises(InputError, match="cannot be read"):
        read_usd(tmp_path / "none.usd")


def test_without_usd_the_error_names_the_extra(sequence, tmp_path, monkeypatch):
    for name in ("pxr", "pxr.Usd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"dpm-cli\[usd\]"):
        export_sequence(sequence, "usd", tmp_path / "scene")
    assert not list(tmp_path.iterdir())

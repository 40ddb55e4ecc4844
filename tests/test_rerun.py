"""Recordings for Rerun, read back with Rerun's own reader."""

import io
import sys
from importlib import import_module

import numpy as np
import pytest
from PIL import Image
from toy_sequence import toy_sequence

from dpm_cli.errors import MissingExtraError
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.clouds import moving_cloud, static_cloud

OPTIONS = ExportOptions(min_confidence=3.0)


@pytest.fixture(scope="module")
def sequence():
    return toy_sequence()


def recording(path):
    """Components by entity: {entity: [(frame or None, time or None, {component: values})]}."""
    reader = pytest.importorskip("rerun.chunk").RrdReader(str(path))
    found: dict = {}
    for chunk in reader.stream().to_chunks():
        for row in chunk.to_record_batch().to_pylist():
            parts = {k: v for k, v in row.items() if ":" in k and v is not None}
            found.setdefault(chunk.entity_path, []).append(
                (row.get("frame"), row.get("time"), parts)
            )
    return found


@pytest.fixture(scope="module")
def found(sequence, tmp_path_factory):
    pytest.importorskip("rerun.chunk")
    path = tmp_path_factory.mktemp("rerun") / "a"
    export_sequence(sequence, "rerun", path, OPTIONS)
    return recording(path.with_suffix(".rrd"))


def one(found, entity, t):
    rows = [parts for frame, _, parts in found[entity] if frame in (t, None)]
    assert len(rows) == 1
    return rows[0]


def test_points_are_those_of_the_scene(sequence, found):
    still = one(found, "/world/still", None)
    wanted = static_cloud(sequence, OPTIONS)
    assert np.array(still["Points3D:positions"]) == pytest.approx(wanted.points)
    rgba = np.array(still["Points3D:colors"], np.uint32)
    assert np.array_equal(rgba >> 24, wanted.colors[:, 0])
    for t in range(4):
        moving = one(found, "/world/moving", t)["Points3D:positions"]
        assert np.array(moving) == pytest.approx(moving_cloud(sequence, t, OPTIONS).points)


def test_cameras_see_points_where_ours_do(sequence, found):
    points = sequence.frame(2).points(sequence.cam2world[2], sequence.intrinsics[2]).reshape(-1, 3)
    for t in range(4):
        place = one(found, "/world/camera", t)
        turn = np.array(place["Transform3D:mat3x3"][0]).reshape(3, 3).T
        local = (points - place["Transform3D:translation"][0]) @ turn
        lens = one(found, "/world/camera/image", t)
        K = np.array(lens["Pinhole:image_from_camera"][0]).reshape(3, 3).T
        assert lens["Pinhole:resolution"][0] == [36, 24]
        seen = local @ K.T
        ours = (points - sequence.cam2world[t, :3, 3]) @ sequence.cam2world[t, :3, :3]
        ours = ours @ sequence.intrinsics[t].T
        # Rerun counts from the corner of the first pixel.
        assert seen[:, :2] / seen[:, 2:] == pytest.approx(ours[:, :2] / ours[:, 2:] + 0.5, abs=1e-3)


def test_pictures_depth_and_times(sequence, found):
    for t in range(4):
        frame = sequence.frame(t)
        blob = bytes(one(found, "/world/camera/image/rgb", t)["EncodedImage:blob"][0])
        assert Image.open(io.BytesIO(blob)).size == (36, 24)
        raw = bytes(one(found, "/world/camera/image/depth", t)["DepthImage:buffer"][0])
        depth = np.frombuffer(raw, np.float32).reshape(24, 36)
        assert np.array_equal(depth, np.where(frame.valid, frame.depth, 0))
    seconds = [time.total_seconds() for _, time, _ in found["/world/camera"]]
    assert sorted(seconds) == pytest.approx(sequence.timestamps)


def test_paths_and_arrows_end_where_movers_are_next(sequence, found):
    arrows = one(found, "/world/scene_flow", 1)
    vectors = np.array(arrows["Arrows3D:vectors"])
    assert len(vectors) > 50
    assert vectors == pytest.approx(np.tile((0.15, 0, 0.03), (len(vectors), 1)))
    strips = one(found, "/world/tracks", 3)["LineStrips3D:strips"]
    steps = np.array([np.array(s)[-1] - np.array(s)[-2] for s in strips])
    moving = np.linalg.norm(steps, axis=1) > 0.05
    assert moving.sum() > 20
    assert np.median(steps[moving], axis=0) == pytest.approx((0.15, 0, 0.03), abs=0.02)
    assert (~moving).sum() > 20


def test_cameras_that_are_not_registered_are_taken_away(tmp_path):
    sequence = toy_sequence()
    sequence.camera_ok[2] = False
    export_sequence(sequence, "rerun", tmp_path / "a", OPTIONS)
    found = recording(tmp_path / "a.rrd")
    assert one(found, "/world/camera", 2) == {"Clear:is_recursive": [True]}
    assert [frame for frame, _, _ in found["/world/camera/image"]] == [0, 1, 3]


def test_without_rerun_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingExtraError, match=r"dpm-cli\[rerun\]"):
        export_sequence(toy_sequence(), "rerun", tmp_path / "a")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ImportError):
        import_module("rerun")

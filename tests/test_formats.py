"""Every writer against its reader, and against an independent reader where one is installed."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dpm_cli.errors import InputError
from dpm_cli.formats.colmap import read_colmap, write_colmap
from dpm_cli.formats.colmap_model import ColmapModel
from dpm_cli.formats.depth_png import DepthImage, read_depth_png, write_depth_png
from dpm_cli.formats.flo import FlowField, read_flo, write_flo
from dpm_cli.formats.kitti_flow import read_kitti_flow, write_kitti_flow
from dpm_cli.formats.mask_png import read_mask, write_mask
from dpm_cli.formats.npz_stream import npz_stream
from dpm_cli.formats.ply import PointCloud, read_ply, read_ply_table, write_ply
from dpm_cli.formats.trajectory import (
    Trajectory,
    read_kitti_poses,
    read_tum,
    write_kitti_poses,
    write_tum,
)
from dpm_cli.formats.transforms_json import TransformsFile, read_transforms, write_transforms


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def imread(path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def make_cloud(rng, count=50, **optional) -> PointCloud:
    return PointCloud(
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.integers(0, 256, (count, 3), dtype=np.uint8),
        rng.uniform(1, 50, count).astype(np.float32),
        rng.choice(np.array([0, 255], np.uint8), count),
        **optional,
    )


def make_poses(rng, count=6) -> np.ndarray:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(size=(count, 3))).as_matrix()
    poses[:, :3, 3] = rng.normal(size=(count, 3))
    return poses


def make_flow(rng, height=9, width=14) -> FlowField:
    valid = rng.random((height, width)) > 0.2
    flow = rng.normal(0, 20, (height, width, 2)).astype(np.float32)
    return FlowField(np.where(valid[..., None], flow, np.float32(0)), valid)


def test_ply_round_trip_with_all_attributes(tmp_path, rng):
    cloud = make_cloud(
        rng, normals=np.zeros((50, 3), np.float32), time=rng.random(50).astype(np.float32)
    )
    write_ply(tmp_path / "a.ply", cloud, ["dpm test"])
    back = read_ply(tmp_path / "a.ply")
    for name in ("points", "colors", "confidence", "dynamic", "normals", "time"):
        np.testing.assert_array_equal(getattr(back, name), getattr(cloud, name))
    assert read_ply_table(tmp_path / "a.ply")[1] == ["dpm test"]


def test_ply_header_is_the_documented_one(tmp_path, rng):
    write_ply(tmp_path / "a.ply", make_cloud(rng), ["dpm 1 opencv"])
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")[0].decode().splitlines()
    assert header == [
        "ply",
        "format binary_little_endian 1.0",
        "comment dpm 1 opencv",
        "element vertex 50",
        *(f"property float {name}" for name in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        "property float confidence",
        "property uchar dynamic",
    ]


def test_ply_is_read_by_open3d(tmp_path, rng):
    o3d = pytest.importorskip("open3d")
    cloud = make_cloud(rng, normals=np.zeros((50, 3), np.float32))
    write_ply(tmp_path / "a.ply", cloud)
    read = o3d.t.io.read_point_cloud(str(tmp_path / "a.ply"))
    np.testing.assert_array_equal(read.point["positions"].numpy(), cloud.points)
    np.testing.assert_array_equal(read.point["colors"].numpy(), cloud.colors)
    np.testing.assert_array_equal(read.point["confidence"].numpy()[:, 0], cloud.confidence)
    legacy = o3d.io.read_point_cloud(str(tmp_path / "a.ply"))
    np.testing.assert_allclose(np.asarray(legacy.points), cloud.points)


def test_empty_and_truncated_ply(tmp_path, rng):
    write_ply(tmp_path / "empty.ply", make_cloud(rng, 0))
    assert len(read_ply(tmp_path / "empty.ply")) == 0
    write_ply(tmp_path / "a.ply", make_cloud(rng))
    (tmp_path / "b.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:-5])
    with pytest.raises(InputError, match="truncated: 49 of 50"):
        read_ply(tmp_path / "b.ply")


def test_flo_round_trip_and_opencv(tmp_path, rng):
    field = make_flow(rng)
    write_flo(tmp_path / "a.flo", field)
    back = read_flo(tmp_path / "a.flo")
    np.testing.assert_array_equal(back.flow, field.flow)
    np.testing.assert_array_equal(back.valid, field.valid)
    raw = cv2.readOpticalFlow(str(tmp_path / "a.flo"))
    np.testing.assert_array_equal(raw[field.valid], field.flow[field.valid])
    assert (raw[~field.valid] == np.float32(1e10)).all()
    (tmp_path / "b.flo").write_bytes((tmp_path / "a.flo").read_bytes()[:-4])
    with pytest.raises(InputError, match="truncated"):
        read_flo(tmp_path / "b.flo")


def test_kitti_flow_round_trip_and_range(tmp_path, rng):
    field = make_flow(rng)
    field.flow[0, 0] = (600, 0)
    field.valid[0, 0] = True
    write_kitti_flow(tmp_path / "a.png", field)
    back = read_kitti_flow(tmp_path / "a.png")
    assert not back.valid[0, 0]
    inside = field.valid.copy()
    inside[0, 0] = False
    np.testing.assert_array_equal(back.valid, inside)
    assert np.abs(back.flow - field.flow)[inside].max() <= 1 / 128 + 1e-6
    raw = imread(tmp_path / "a.png")
    y, x = np.argwhere(inside)[5]
    assert (int(raw[y, x, 2]) - 2**15) / 64 == pytest.approx(field.flow[y, x, 0], abs=1 / 64)
    assert (raw[~inside] == 0).all()


@pytest.mark.parametrize("read", [read_kitti_flow, read_mask])
def test_a_small_png_that_announces_gigabytes_is_refused_by_its_header(tmp_path, read):
    write_mask(tmp_path / "mask.png", np.ones((8, 8), bool))
    data = bytearray((tmp_path / "mask.png").read_bytes())
    data[16:24] = (2**15).to_bytes(4, "big") * 2
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match=r"too big \(32768x32768\)"):
        read(tmp_path / "bomb.png")


def test_mask_round_trip(tmp_path, rng):
    mask = rng.random((7, 5)) > 0.5
    write_mask(tmp_path / "m.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)
    raw = imread(tmp_path / "m.png")
    assert raw.shape == (7, 5)
    assert set(np.unique(raw)) == {0, 255}


def test_depth_declares_its_factor(tmp_path, rng):
    valid = rng.random((6, 8)) > 0.3
    depth = np.where(valid, rng.uniform(0.5, 30, (6, 8)), 0).astype(np.float32)
    write_depth_png(tmp_path / "d.png", DepthImage(depth, valid, 30 / 65535, "arbitrary"))
    back = read_depth_png(tmp_path / "d.png")
    np.testing.assert_array_equal(back.valid, valid)
    assert np.abs(back.depth - depth).max() <= 30 / 65535 / 2 * 1.01
    assert (back.factor, back.unit) == (30 / 65535, "arbitrary")
    raw = imread(tmp_path / "d.png")
    assert raw.dtype == np.uint16
    write_mask(tmp_path / "bare.png", valid)
    with pytest.raises(InputError, match="depth_factor"):
        read_depth_png(tmp_path / "bare.png")


def test_tum_round_trip_and_evo(tmp_path, rng):
    poses, times = make_poses(rng), np.array([0, 0.04, 0.1, 0.2, 0.21, 0.5])
    write_tum(tmp_path / "t.txt", Trajectory(times, poses), "dpm test")
    back = read_tum(tmp_path / "t.txt")
    np.testing.assert_allclose(back.cam2world, poses, atol=1e-8)
    np.testing.assert_allclose(back.timestamps, times)
    file_interface = pytest.importorskip("evo.tools.file_interface")
    evo = file_interface.read_tum_trajectory_file(str(tmp_path / "t.txt"))
    np.testing.assert_allclose(np.array(evo.poses_se3), poses, atol=1e-8)


def test_kitti_poses_round_trip(tmp_path, rng):
    poses = make_poses(rng)
    write_kitti_poses(tmp_path / "k.txt", poses)
    np.testing.assert_allclose(read_kitti_poses(tmp_path / "k.txt").cam2world, poses, atol=1e-11)
    with pytest.raises(InputError, match="12 numbers a line, not 8"):
        read_tum(tmp_path / "k.txt")


def test_npz_stream_is_read_by_numpy(tmp_path, rng):
    rows = rng.normal(size=(5, 3, 4)).astype(np.float32)
    with npz_stream(tmp_path / "a.npz") as stream:
        with stream.rows("rows", rows.shape, np.float32) as append:
            for row in rows:
                append(row)
        stream.write("text", np.array("opencv"))
        stream.write("none", np.zeros((0, 3, 4, 2), np.float32))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["rows"], rows)
        assert str(archive["text"]) == "opencv"
        assert archive["none"].shape == (0, 3, 4, 2)


def test_npz_stream_refuses_a_wrong_count_and_leaves_nothing(tmp_path):
    with (
        pytest.raises(ValueError, match="8 bytes written"),
        npz_stream(tmp_path / "a.npz") as stream,
        stream.rows("x", (3,), np.float64) as append,
    ):
        append(np.zeros(1))
    assert list(tmp_path.iterdir()) == []


def test_colmap_round_trip_and_half_pixel(tmp_path, rng):
    intrinsics = np.tile(np.array([[100.0, 0, 31.5], [0, 101, 23.5], [0, 0, 1]]), (3, 1, 1))
    cloud = make_cloud(rng, 4)
    model = ColmapModel(
        ["a.png", "b.png", "c.png"], (48, 64), intrinsics, make_poses(rng, 3), cloud
    )
    write_colmap(tmp_path, model)
    back = read_colmap(tmp_path)
    np.testing.assert_allclose(back.cam2world, model.cam2world, atol=1e-9)
    np.testing.assert_allclose(back.intrinsics, intrinsics, atol=1e-9)
    np.testing.assert_allclose(back.cloud.points, cloud.points)
    np.testing.assert_array_equal(back.cloud.colors, cloud.colors)
    assert (back.names, back.size) == (model.names, model.size)
    camera = (tmp_path / "cameras.txt").read_text().splitlines()[1]
    assert camera == "1 PINHOLE 64 48 100 101 32 24"
    lines = (tmp_path / "images.txt").read_text().splitlines()
    assert all(lines), "images without points have a line too"
    assert lines[2] == "32.00 24.00 -1"


def test_transforms_round_trip_and_axes(tmp_path, rng):
    intrinsics = np.tile(np.array([[100.0, 0, 31.5], [0, 101, 23.5], [0, 0, 1]]), (2, 1, 1))
    poses = make_poses(rng, 2)
    poses[0] = np.eye(4)
    written = TransformsFile(
        ["a.png", "b.png"], (48, 64), intrinsics, poses, np.array([0.0, 1.0]), "p.ply"
    )
    write_transforms(tmp_path / "transforms.json", written)
    back = read_transforms(tmp_path / "transforms.json")
    np.testing.assert_allclose(back.cam2world, poses, atol=1e-12)
    np.testing.assert_allclose(back.intrinsics, intrinsics)
    assert (back.names, back.size, back.ply) == (written.names, written.size, "p.ply")
    text = (tmp_path / "transforms.json").read_text()
    assert '"cx": 32.0' in text
    assert "-1.0" in text

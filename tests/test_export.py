"""Exports of an exact toy sequence, read back and compared with it."""

import json

import cv2
import numpy as np
import pytest
from test_sequence import write_run
from toy_sequence import NORMAL, OFFSET, toy_arrays, toy_frames, toy_header

from dpm_cli.errors import UsageError
from dpm_cli.export import ExportOptions, export_sequence, write_run_outputs
from dpm_cli.export.clouds import static_cloud
from dpm_cli.export.source_size import flow_to_source, nearest_to_source, resample
from dpm_cli.formats.colmap import read_colmap
from dpm_cli.formats.depth_png import read_depth_png
from dpm_cli.formats.flo import read_flo
from dpm_cli.formats.kitti_flow import read_kitti_flow
from dpm_cli.formats.mask_png import read_mask
from dpm_cli.formats.ply import read_ply, read_ply_table
from dpm_cli.formats.trajectory import read_kitti_poses, read_tum
from dpm_cli.formats.transforms_json import read_transforms
from dpm_cli.geometry.camera import source_from_working
from dpm_cli.outputs import OUTPUTS
from dpm_cli.sequence import Sequence4D
from dpm_cli.structures import Cameras


@pytest.fixture
def sequence(tmp_path) -> Sequence4D:
    header = toy_header()
    write_run(tmp_path / "run", header, toy_frames(header))
    return Sequence4D.open(tmp_path / "run")


def with_registered(sequence: Sequence4D, registered) -> Sequence4D:
    cameras = Cameras(sequence.cam2world, sequence.intrinsics, np.array(registered))
    header = type(sequence.header)(**{**vars(sequence.header), "cameras": cameras})
    return Sequence4D(header, sequence.frames, name=sequence.name)


def test_npz_has_exactly_the_documented_keys(tmp_path, sequence):
    export_sequence(sequence, "npz", tmp_path / "a")
    expected = toy_arrays(toy_header(), toy_frames(toy_header()))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert set(archive.files) == set(expected)
        for key, array in expected.items():
            assert archive[key].dtype == array.dtype, key
            np.testing.assert_array_equal(archive[key], array)
    again = Sequence4D.open(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.frame(2).flow_bwd, sequence.frame(2).flow_bwd)


def test_every_format_works_with_one_frame(tmp_path):
    header = toy_header(1)
    write_run(tmp_path / "run", header, toy_frames(header))
    sequence = Sequence4D.open(tmp_path / "run")
    for name in set(OUTPUTS) - {"flo", "kitti-flow"}:
        export_sequence(sequence, name, tmp_path / name)
    with np.load(tmp_path / "npz.npz") as archive:
        assert archive["flow_fwd"].shape == (0, 24, 36, 2)
    write_run_outputs(sequence, tmp_path / "run", min_confidence=2.0)
    assert (tmp_path / "run" / "preview" / "contact_sheet.png").is_file()


def test_frame_clouds_keep_valid_confident_points(tmp_path, sequence):
    export_sequence(sequence, "ply", tmp_path / "clouds", ExportOptions(min_confidence=20.0))
    files = sorted(path.name for path in (tmp_path / "clouds").glob("*.ply"))
    assert files == [f"frame_{t:06d}.ply" for t in range(4)]
    cloud = read_ply(tmp_path / "clouds" / "frame_000002.ply")
    frame = sequence.frame(2)
    keep = frame.valid & (frame.confidence >= 20)
    points = sequence.read(2, "points")
    assert points is not None
    np.testing.assert_array_equal(cloud.points, points[keep])
    np.testing.assert_array_equal(cloud.colors, frame.image[keep])
    assert cloud.dynamic is not None
    np.testing.assert_array_equal(cloud.dynamic == 255, frame.dynamic[keep] > 0.5)
    comment = read_ply_table(tmp_path / "clouds" / "frame_000002.ply")[1][0]
    assert "opencv world=first-camera unit=arbitrary" in comment


def test_static_cloud_has_no_movers_and_lies_on_the_plane(tmp_path, sequence):
    options = ExportOptions(profile="3dgs", max_points=500)
    export_sequence(sequence, "ply", tmp_path / "scene", options)
    cloud = read_ply(tmp_path / "scene.ply")
    assert len(cloud) == 500
    np.testing.assert_allclose(cloud.points @ NORMAL, OFFSET, atol=1e-4)
    assert cloud.dynamic is not None
    assert not cloud.dynamic.any()
    assert cloud.normals is not None
    assert not cloud.normals.any()


def test_static_cloud_leaves_unregistered_frames_out(sequence):
    all_frames = static_cloud(sequence, ExportOptions())
    one = static_cloud(with_registered(sequence, [True, False, False, False]), ExportOptions())
    assert 0 < len(one) < len(all_frames) / 3


def test_timed_cloud_runs_from_zero_to_one(tmp_path, sequence):
    export_sequence(sequence, "ply", tmp_path / "t", ExportOptions(profile="4dgs"))
    cloud = read_ply(tmp_path / "t.ply")
    assert cloud.time is not None
    np.testing.assert_allclose(np.unique(cloud.time), [0, 1 / 3, 2 / 3, 1], atol=1e-6)
    assert len(cloud) == sum(sequence.frame(t).valid.sum() for t in range(4))


def test_voxels_average_a_static_cloud(sequence):
    pytest.importorskip("open3d")
    dense = static_cloud(sequence, ExportOptions())
    small = static_cloud(sequence, ExportOptions(voxel_size=0.5))
    assert 10 < len(small) < len(dense) / 4
    np.testing.assert_allclose(small.points @ NORMAL, OFFSET, atol=1e-4)
    assert abs(small.colors.mean() - dense.colors.mean()) < 10


def test_flow_at_the_source_size_is_scaled_and_placed():
    """A flow that is affine in the pixel stays exact under linear interpolation."""
    size, source_size = (20, 30), (50, 45)
    A = source_from_working(source_size, size).numpy()
    y, x = np.mgrid[:20, :30].astype(np.float32)
    flow = np.stack((0.1 * x + 1, -0.2 * y + 0.05 * x), -1)
    valid = x >= 15
    field = flow_to_source(flow, valid, A, source_size)
    ys, xs = np.mgrid[:50, :45].astype(np.float64)
    xw, yw = (xs - A[0, 2]) / A[0, 0], (ys - A[1, 2]) / A[1, 1]
    expected = np.stack(((0.1 * xw + 1) * 1.5, (-0.2 * yw + 0.05 * xw) * 2.5), -1)
    inside = (xw >= 0) & (xw <= 29) & (yw >= 0) & (yw <= 19) & field.valid
    np.testing.assert_allclose(field.flow[inside], expected[inside], atol=1e-4)
    np.testing.assert_array_equal(field.valid, np.rint(xw) >= 15)
    assert (field.flow[~field.valid] == 0).all()


def test_resampling_to_the_same_size_changes_nothing():
    array = np.random.default_rng(0).normal(size=(7, 9, 2)).astype(np.float32)
    np.testing.assert_allclose(resample(array, np.eye(3), (7, 9)), array, atol=1e-5)
    np.testing.assert_array_equal(nearest_to_source(array, np.eye(3), (7, 9)), array)


def test_resampling_is_the_inverse_of_the_resize_of_images():
    """What cv2 shrinks, `resample` puts back at the same place; a half-pixel mistake would show as 0.75."""
    y, x = np.mgrid[:48, :80].astype(np.float32)
    shrunk = cv2.resize(np.stack((x, y), -1), (32, 24), interpolation=cv2.INTER_AREA)
    back = resample(shrunk, source_from_working((48, 80), (24, 32)).numpy(), (48, 80))
    np.testing.assert_allclose(back[4:-4, 4:-4], np.stack((x, y), -1)[4:-4, 4:-4], atol=0.05)


def test_flo_and_kitti_flow_agree_and_land_where_the_points_land(tmp_path, sequence):
    export_sequence(sequence, "flo", tmp_path / "flo")
    export_sequence(sequence, "kitti-flow", tmp_path / "kitti")
    names = {path.stem for path in (tmp_path / "flo").glob("*.flo")}
    assert names == {f"fwd_{t:06d}_{t + 1:06d}" for t in range(3)} | {
        f"bwd_{t + 1:06d}_{t:06d}" for t in range(3)
    }
    flo = read_flo(tmp_path / "flo" / "fwd_000001_000002.flo")
    kitti = read_kitti_flow(tmp_path / "kitti" / "fwd_000001_000002.png")
    assert flo.flow.shape == (60, 90, 2)
    np.testing.assert_array_equal(flo.valid, kitti.valid)
    assert np.abs(flo.flow - kitti.flow).max() <= 1 / 128 + 1e-4
    A = sequence.source_from_working
    frame = sequence.frame(1)
    assert frame.flow_fwd is not None
    at_working = A @ (30, 5, 1)
    x, y = np.rint(at_working[:2]).astype(int)
    np.testing.assert_allclose(flo.flow[y, x], frame.flow_fwd[5, 30] * 2.5, atol=0.1)


def test_masks_are_at_the_source_size_and_follow_the_threshold(tmp_path, sequence):
    export_sequence(sequence, "masks", tmp_path / "m")
    mask = read_mask(tmp_path / "m" / "dynamic_000000.png")
    assert mask.shape == (60, 90)
    assert mask[30, 45]
    assert not mask[5, 5]
    assert abs(mask.mean() - (sequence.frame(0).dynamic > 0.5).mean()) < 0.02
    lower = Sequence4D(sequence.header, sequence.frames, motion_threshold=0.05)
    export_sequence(lower, "masks", tmp_path / "all")
    assert read_mask(tmp_path / "all" / "dynamic_000000.png").all()


def test_depth_images_share_one_declared_factor(tmp_path, sequence):
    export_sequence(sequence, "depth", tmp_path / "d")
    told = json.loads((tmp_path / "d" / "depth.json").read_text())
    farthest = max(sequence.frame(t).depth[sequence.frame(t).valid].max() for t in range(4))
    assert told["depth_factor"] == pytest.approx(farthest / 65535)
    image = read_depth_png(tmp_path / "d" / "depth_000003.png")
    assert image.factor == told["depth_factor"]
    frame = sequence.frame(3)
    expected = nearest_to_source(frame.depth, sequence.source_from_working, (60, 90))
    assert np.abs(image.depth - expected)[image.valid].max() < image.factor
    assert not image.valid[0].any()


def test_camera_paths(tmp_path, sequence):
    partly = with_registered(sequence, [True, True, False, True])
    export_sequence(partly, "tum", tmp_path / "tum")
    export_sequence(partly, "kitti-poses", tmp_path / "kitti")
    tum = read_tum(tmp_path / "tum.txt")
    used = [0, 1, 3]
    np.testing.assert_allclose(tum.timestamps, sequence.timestamps[used])
    np.testing.assert_allclose(tum.cam2world, sequence.cam2world[used], atol=1e-8)
    poses = read_kitti_poses(tmp_path / "kitti.txt").cam2world
    np.testing.assert_allclose(poses, sequence.cam2world, atol=1e-10)


def projection_error(cloud, K, cam2world, image, size) -> float:
    """Median colour difference of a cloud against the pixels it projects to, pixel centres at integers."""
    world2cam = np.linalg.inv(cam2world)
    local = cloud.points @ world2cam[:3, :3].T + world2cam[:3, 3]
    pixels = local @ K.T
    x, y = np.rint(pixels[:, :2] / pixels[:, 2:]).astype(int).T
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    difference = np.abs(image[y[inside], x[inside]].astype(int) - cloud.colors[inside].astype(int))
    return float(np.median(difference))


def test_colmap_and_nerfstudio_put_colours_where_the_cameras_see_them(tmp_path, sequence):
    only_first = with_registered(sequence, [True, False, False, False])
    export_sequence(only_first, "colmap", tmp_path / "colmap")
    model = read_colmap(tmp_path / "colmap" / "sparse" / "0")
    assert model.size == (60, 90)
    assert model.names == ["frame_000000.png"]
    image = cv2.imread(str(tmp_path / "colmap" / "images" / model.names[0]))
    assert image is not None
    assert image.shape == (60, 90, 3)
    image = image[..., ::-1]
    error = projection_error(model.cloud, model.intrinsics[0], model.cam2world[0], image, (60, 90))
    shifted = np.roll(image, 6, 1)
    wrong = projection_error(
        model.cloud, model.intrinsics[0], model.cam2world[0], shifted, (60, 90)
    )
    assert error < 12 < wrong
    export_sequence(sequence, "nerfstudio", tmp_path / "ns")
    transforms = read_transforms(tmp_path / "ns" / "transforms.json")
    np.testing.assert_allclose(transforms.cam2world, sequence.cam2world, atol=1e-12)
    np.testing.assert_allclose(transforms.intrinsics, sequence.intrinsics_source)
    np.testing.assert_allclose(transforms.time, [0, 1 / 3, 2 / 3, 1])
    assert all((tmp_path / "ns" / name).is_file() for name in transforms.names)
    assert len(read_ply(tmp_path / "ns" / transforms.ply)) > 1000


def test_existing_results_are_kept_without_overwrite(tmp_path, sequence):
    export_sequence(sequence, "ply", tmp_path / "clouds")
    (tmp_path / "clouds" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export_sequence(sequence, "ply", tmp_path / "clouds")
    short = toy_header(2)
    write_run(tmp_path / "short", short, toy_frames(short))
    export_sequence(Sequence4D.open(tmp_path / "short"), "ply", tmp_path / "clouds", overwrite=True)
    left = sorted(path.name for path in (tmp_path / "clouds").iterdir())
    assert left == ["dpm_export.json", "frame_000000.ply", "frame_000001.ply", "notes.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        export_sequence(sequence, "masks", tmp_path / "file", overwrite=True)
    with pytest.raises(UsageError, match="choose from ply, npz"):
        export_sequence(sequence, "obj", tmp_path / "x")


def test_run_outputs_fill_the_documented_folders(tmp_path, sequence):
    folder = tmp_path / "run"
    write_run_outputs(sequence, folder, min_confidence=2.0)
    assert len(list((folder / "points").glob("frame_*.ply"))) == 4
    assert len(list((folder / "flow").glob("*.flo"))) == 6
    assert len(list((folder / "masks").glob("dynamic_*.png"))) == 4
    preview = {path.name for path in (folder / "preview").iterdir()}
    assert {"contact_sheet.png", "preview.mp4", "depth_000000.png", "side_000003.png"} <= preview
    with pytest.raises(UsageError, match="choose from ply, flo, masks, preview"):
        write_run_outputs(sequence, folder, ["obj"])

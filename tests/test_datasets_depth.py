"""Readers of depth and cameras on small files in the published layouts."""

import numpy as np
import pytest
from dataset_files import exr_bytes, grey, write_bytes, write_image, write_text

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets import read_dataset

SIZE = (6, 8)


def rgbd(root, frames, step_s=1 / 30):
    rows = {"rgb": [], "depth": [], "groundtruth": ["# timestamp tx ty tz qx qy qz qw"]}
    for i in range(frames):
        time = 100 + i * step_s
        write_image(root / "rgb" / f"{time:.6f}.png", grey(i % 250))
        write_image(root / "depth" / f"{time:.6f}.png", np.full(SIZE, 5000 + i, np.uint16))
        rows["rgb"].append(f"{time:.6f} rgb/{time:.6f}.png")
        rows["depth"].append(f"{time + 0.004:.6f} depth/{time:.6f}.png")
        rows["groundtruth"].append(f"{time - 0.003:.6f} {i} 0 0 0 0 0.7071068 0.7071068")
    for name, lines in rows.items():
        write_text(root / f"{name}.txt", "\n".join(lines) + "\n")
    return root


def test_tum_takes_every_third_frame(tmp_path):
    rgbd(tmp_path / "rgbd_dataset_freiburg3_walking_xyz", 10)
    (sequence,) = read_dataset("tum", tmp_path)
    assert len(sequence) == 4
    assert sequence.images[1][0, 0, 0] == 3
    assert sequence.depth is not None
    assert sequence.depth[1][0, 0] == pytest.approx(5003 / 5000)
    assert sequence.intrinsics is not None
    assert sequence.intrinsics[0, 0, 0] == 535.4
    assert sequence.cam2world is not None
    assert sequence.cam2world[:, 0, 3].tolist() == [0, 3, 6, 9]
    # 90 degrees about z turns x into y.
    assert sequence.cam2world[0, :3, :3] @ [1, 0, 0] == pytest.approx([0, 1, 0], abs=1e-6)


def test_tum_leaves_out_frames_without_a_pose(tmp_path):
    root = rgbd(tmp_path, 4)
    lines = (root / "groundtruth.txt").read_text().splitlines()
    write_text(root / "groundtruth.txt", "\n".join([*lines[:1], *lines[2:]]))
    (sequence,) = read_dataset("tum", root)
    assert sequence.images[0][0, 0, 0] == 1
    write_text(root / "groundtruth.txt", "5.0 0 0 0 0 0 0 1\n")
    with pytest.raises(InputError, match="no colour image has depth and a pose"):
        read_dataset("tum", root)


def test_bonn_takes_the_protocols_frames(tmp_path):
    rgbd(tmp_path / "rgbd_bonn_balloon2", 150)
    (sequence,) = read_dataset("bonn", tmp_path)
    assert len(sequence) == 110
    assert sequence.images[0][0, 0, 0] == 30
    assert sequence.intrinsics is not None
    assert sequence.intrinsics[0, 1, 2] == pytest.approx(237.756098)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_7scenes_registers_depth(tmp_path, suffix):
    root = tmp_path / "chess" / "seq-01"
    size = (480, 640)
    depth = np.zeros(size, np.uint16)
    # Infrared pixel (320 + 117, 240) sees direction .2, which the colour camera has at 320 + 105.
    depth[238:243, 320 + 115 : 320 + 120] = 2000
    depth[0, 0] = 65535
    write_image(root / f"frame-000000.color.{suffix}", grey(7, size))
    write_image(root / "frame-000000.depth.png", depth)
    write_text(root / "frame-000000.pose.txt", "1 0 0 .5\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    (sequence,) = read_dataset("7scenes", tmp_path)
    assert sequence.static
    assert sequence.depth is not None
    registered = sequence.depth[0]
    assert registered[240, 320 + 105] == pytest.approx(2.0)
    assert registered[240, 320 + 117] == 0
    assert registered.max() == pytest.approx(2.0)
    assert sequence.cam2world is not None
    assert sequence.cam2world[0, 0, 3] == 0.5
    assert read_dataset("7scenes", root)[0].name == "seq-01"


def test_kitti_depth_cropped(tmp_path):
    base = tmp_path / "depth_selection" / "val_selection_cropped"
    drive = "2011_09_26_drive_0002_sync"
    for i in (5, 8):
        tail = f"{i:010d}_image_02"
        write_image(base / "image" / f"{drive}_image_{tail}.png", grey(i))
        write_image(
            base / "groundtruth_depth" / f"{drive}_groundtruth_depth_{tail}.png",
            np.full(SIZE, 2560, np.uint16),
        )
        write_text(base / "intrinsics" / f"{drive}_image_{tail}.txt", "700 0 4 0 700 3 0 0 1")
    (sequence,) = read_dataset("kitti-depth", tmp_path)
    assert len(sequence) == 2
    assert sequence.images[1][0, 0, 0] == 8
    assert sequence.depth is not None
    assert sequence.depth[0] == pytest.approx(np.full(SIZE, 10.0))
    assert sequence.intrinsics is not None
    assert sequence.intrinsics[1, 0, 0] == 700


def test_kitti_depth_drives(tmp_path):
    drive = tmp_path / "val" / "2011_09_26_drive_0002_sync"
    write_image(drive / "image_02" / "data" / "0000000005.png", grey(5))
    for i in (5, 6):
        depth = drive / "proj_depth" / "groundtruth" / "image_02" / f"{i:010d}.png"
        write_image(depth, np.full(SIZE, 256, np.uint16))
    (sequence,) = read_dataset("kitti-depth", tmp_path)
    assert len(sequence) == 1
    assert sequence.depth is not None
    assert sequence.depth[0][0, 0] == 1.0


def test_waymo_keeps_cameras_apart(tmp_path):
    segment = tmp_path / "segment-1.tfrecord"
    for frame in (0, 1):
        for camera in (1, 2):
            stem = f"{frame:05d}_{camera}"
            write_image(segment / f"{stem}.jpg", grey(100 * frame + 10 * camera))
            sparse = np.zeros(SIZE, np.float32)
            sparse[2, 3] = 20 + frame
            write_bytes(segment / f"{stem}.exr", exr_bytes(sparse))
            pose = np.eye(4)
            pose[0, 3] = frame
            np.savez(
                segment / f"{stem}.npz",
                intrinsics=np.eye(3),
                cam2world=pose,
                distortion=np.zeros(5),
            )
    one, two = read_dataset("waymo", tmp_path)
    assert (one.name, two.name) == ("segment-1.tfrecord/1", "segment-1.tfrecord/2")
    assert one.depth is not None
    assert one.depth[1][2, 3] == 21
    assert abs(int(two.images[1][0, 0, 0]) - 120) < 3
    assert two.cam2world is not None
    assert two.cam2world[:, 0, 3].tolist() == [0, 1]


def test_redwood(tmp_path):
    lines = []
    for i in range(2):
        write_image(tmp_path / "color" / f"{i:05d}.jpg", grey(i))
        write_image(tmp_path / "depth" / f"{i:05d}.png", np.full(SIZE, 1500, np.uint16))
        lines += [f"{i} {i} {i + 1}", f"1 0 0 {i}", "0 1 0 0", "0 0 1 0", "0 0 0 1"]
    write_text(tmp_path / "trajectory.log", "\n".join(lines) + "\n")
    (sequence,) = read_dataset("redwood", tmp_path)
    assert sequence.depth is not None
    assert sequence.depth[1][0, 0] == pytest.approx(1.5)
    assert sequence.cam2world is not None
    assert sequence.cam2world[1, 0, 3] == 1
    write_text(tmp_path / "trajectory.log", "\n".join(lines[:5]) + "\n")
    with pytest.raises(InputError, match="1 poses for 2 images"):
        read_dataset("redwood", tmp_path)


def test_slambook_counts_its_files(tmp_path):
    for i in range(1, 12):
        write_image(tmp_path / "color" / f"{i}.png", grey(i))
        write_image(tmp_path / "depth" / f"{i}.pgm", np.full(SIZE, 1000 * i, np.uint16))
    write_text(tmp_path / "pose.txt", "\n".join(f"{i} 0 0 0 0 0 1" for i in range(11)))
    (sequence,) = read_dataset("slambook", tmp_path)
    assert sequence.images[9][0, 0, 0] == 10
    assert sequence.depth is not None
    assert sequence.depth[10][0, 0] == pytest.approx(11)
    assert sequence.cam2world is not None
    assert sequence.cam2world[10, 0, 3] == 10

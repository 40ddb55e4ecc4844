"""Readers of masks, tracks and moving objects, and the four maps that follow from them."""

import json
import pickle

import numpy as np
import pytest
from dataset_files import grey, jpeg, png, record_bytes, write_bytes, write_image, write_text
from PIL import Image

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets import read_dataset
from dpm_cli.workshop.datasets.four_maps import has_four_maps, pair_truth

SIZE = (6, 8)
FOCAL = 10.0
HALF_TURN = [0.0, 1.0, 0.0, 0.0]
"""w x y z: half a turn about x, which makes Blender's camera look along +z with y down."""


@pytest.mark.parametrize("folder", ["480p", "."])
def test_davis(tmp_path, folder):
    for i in range(2):
        write_image(tmp_path / "JPEGImages" / folder / "dog" / f"{i:05d}.jpg", grey(i))
        mask = np.zeros(SIZE, np.uint8)
        mask[:, i] = 255
        write_image(tmp_path / "Annotations" / folder / "dog" / f"{i:05d}.png", mask)
    (sequence,) = read_dataset("davis", tmp_path)
    assert (sequence.name, len(sequence)) == ("dog", 2)
    assert sequence.masks is not None
    assert sequence.masks[1][:, 1].tolist() == [1] * 6
    assert sequence.masks[1].sum() == 6


def test_davis_2017_palette(tmp_path):
    write_image(tmp_path / "JPEGImages" / "480p" / "dogs" / "00000.jpg", grey(0))
    labels = np.zeros(SIZE, np.uint8)
    labels[0], labels[1], labels[2, 0] = 1, 2, 255
    image = Image.fromarray(labels)
    image.putpalette(bytes(range(256)) * 3)
    path = tmp_path / "Annotations" / "480p" / "dogs" / "00000.png"
    path.parent.mkdir(parents=True)
    image.save(path)
    (sequence,) = read_dataset("davis", tmp_path)
    assert sequence.masks is not None
    mask = sequence.masks[0]
    assert mask[:3, 0].tolist() == [1, 1, -1]
    assert (mask == 1).sum() == 16


def object_motion():
    """Two frames: the camera stands at z = -5, object 1 moves by 1 in x; Kubric's depth is a distance."""
    height, width = SIZE
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    distance = (5 * np.sqrt((x / FOCAL) ** 2 + (y / FOCAL) ** 2 + 1)).astype(np.float32)
    ids = np.zeros(SIZE, np.uint8)
    ids[3, 2] = 1
    later = np.zeros(SIZE, np.uint8)
    later[3, 4] = 1
    positions = np.array([[[0, 0, 0], [1, 0, 0]]], np.float32)
    quaternions = np.tile(np.array([1, 0, 0, 0], np.float32), (1, 2, 1))
    camera = (
        np.tile(np.array([0, 0, -5], np.float32), (2, 1)),
        np.tile(np.array(HALF_TURN, np.float32), (2, 1)),
    )
    return distance, (ids, later), (positions, quaternions), camera


def movi_record(path):
    distance, ids, objects, camera = object_motion()
    low, high = 4.0, 8.0
    counts = np.round((distance - low) / (high - low) * 65535).astype(np.uint16)
    features = {
        "video": [png(grey(i)) for i in (10, 20)],
        "depth": [png(counts)] * 2,
        "segmentations": [png(i) for i in ids],
        "metadata/depth_range": np.array([low, high], np.float32),
        "metadata/video_name": [b"1234"],
        "camera/positions": camera[0].ravel(),
        "camera/quaternions": camera[1].ravel(),
        "camera/focal_length": np.array([FOCAL / SIZE[1] * 32], np.float32),
        "camera/sensor_width": np.array([32], np.float32),
        "instances/positions": objects[0].ravel(),
        "instances/quaternions": objects[1].ravel(),
    }
    return write_bytes(
        path / "256x256" / "1.0.0" / "movi_f-validation.tfrecord-00000-of-00001",
        record_bytes(features),
    )


def movi_folder(path):
    distance, ids, objects, camera = object_motion()
    root = path / "1234"
    for i in range(2):
        write_image(root / f"rgba_{i:05d}.png", grey(10 + 10 * i))
        write_image(root / f"depth_{i:05d}.tiff", distance)
        write_image(root / f"segmentation_{i:05d}.png", ids[i])
    data = {
        "camera": {
            "positions": camera[0].tolist(),
            "quaternions": camera[1].tolist(),
            "focal_length": FOCAL / SIZE[1] * 32,
            "sensor_width": 32,
        },
        "instances": [{"positions": objects[0][0].tolist(), "quaternions": objects[1][0].tolist()}],
    }
    write_text(root / "metadata.json", json.dumps(data))


@pytest.mark.parametrize("write", [movi_record, movi_folder])
def test_movi_and_its_four_maps(tmp_path, write):
    write(tmp_path)
    (sequence,) = read_dataset("movi", tmp_path)
    assert sequence.name == "1234"
    assert sequence.images[1][0, 0].tolist() == [20, 20, 20]
    assert sequence.depth is not None
    assert sequence.depth[0] == pytest.approx(np.full(SIZE, 5.0), abs=2e-4)
    assert sequence.intrinsics is not None
    assert sequence.intrinsics[0, 0, 0] == pytest.approx(FOCAL)
    assert has_four_maps(sequence)
    pair = pair_truth(sequence, 0, 1)
    points = pair.points[0].numpy()
    # The object's pixel (2, 3) of image 1 lies at x = (2 - 3.5) / 10 * 5 and goes 1 to the right: 2 pixels.
    assert points[0, 0, 3, 2] == pytest.approx([-0.75, 0.25, 5], abs=1e-3)
    assert points[0, 1, 3, 2] == pytest.approx([0.25, 0.25, 5], abs=1e-3)
    # Image 2's object pixel (4, 3) shows the same point: equal at the same times (the defining law).
    assert points[1, 0, 3, 4] == pytest.approx(points[0, 0, 3, 2], abs=1e-3)
    assert points[1, 1, 3, 4] == pytest.approx(points[0, 1, 3, 2], abs=1e-3)
    assert pair.flow[0, 0, 3, 2].numpy() == pytest.approx([2, 0], abs=1e-2)
    assert pair.flow[0, 1, 3, 4].numpy() == pytest.approx([-2, 0], abs=1e-2)
    assert pair.moving[0].sum((-1, -2)).tolist() == [1, 1]
    assert pair.visible[0, 0].all()
    assert pair.cam2_from_cam1[0].numpy() == pytest.approx(np.eye(4), abs=1e-6)


def test_movi_reads_the_frames_of_the_record_that_is_asked_for(tmp_path):
    path = movi_record(tmp_path)
    one = path.read_bytes()
    other = one.replace(b"1234", b"5678").replace(png(grey(20)), png(grey(99)))
    path.write_bytes(one + other)
    first, second = read_dataset("movi", tmp_path)
    assert (first.name, second.name) == ("1234", "5678")
    assert first.images[1][0, 0].tolist() == [20, 20, 20]
    assert second.images[1][0, 0].tolist() == [99, 99, 99]
    assert second.depth is not None
    assert second.depth[1] == pytest.approx(np.full(SIZE, 5.0), abs=2e-4)


def test_movi_record_of_something_else(tmp_path):
    write_bytes(tmp_path / "a.tfrecord", record_bytes({"image/encoded": [b"x"]}))
    with pytest.raises(InputError, match="not of MOVi"):
        read_dataset("movi", tmp_path)


def odyssey(root):
    sequence = root / "test" / "cab_h_bench"
    for i in range(3):
        write_image(sequence / "rgbs" / f"rgb_{i:05d}.jpg", grey(10 * i))
        write_image(sequence / "depths" / f"depth_{i:05d}.png", np.full(SIZE, 328, np.uint16))
    depth = 328 / 65535 * 1000
    K = np.array([[FOCAL, 0, 3.5], [0, FOCAL, 2.5], [0, 0, 1]])
    extrinsics = np.tile(np.eye(4), (3, 1, 1))
    extrinsics[:, 0, 3] = [0, -0.5, -1.0]  # the camera moves half a unit to the right a frame
    # A point seen at pixel (4, 3) of frame 0 that moves 1 in y till frame 1; another one never valid.
    start = np.array([(4 - 3.5) / FOCAL * depth, (3 - 2.5) / FOCAL * depth, depth])
    tracks = np.stack((np.stack((start, start + [0, 1, 0], start)), np.zeros((3, 3))), 1)
    camera = tracks + extrinsics[:, None, :3, 3]
    pixels = camera[..., :2] / np.maximum(camera[..., 2:], 1e-6) * FOCAL + K[:2, 2]
    seen = np.array([[True, False]] * 3)
    np.savez(
        sequence / "anno.npz",
        trajs_2d=pixels.astype(np.float32),
        trajs_3d=tracks.astype(np.float32),
        visibs=seen,
        valids=seen,
        intrinsics=np.tile(K, (3, 1, 1)),
        extrinsics=extrinsics,
    )
    return depth


def test_pointodyssey_and_its_sparse_maps(tmp_path):
    depth = odyssey(tmp_path)
    (sequence,) = read_dataset("pointodyssey", tmp_path)
    assert sequence.depth is not None
    assert sequence.depth[0] == pytest.approx(np.full(SIZE, depth), rel=1e-5)
    assert sequence.cam2world is not None
    assert sequence.cam2world[:, 0, 3].tolist() == [0, 0.5, 1.0]
    pair = pair_truth(sequence, 0, 1)
    assert pair.valid[0, 0, 0].all()
    assert pair.valid[0, 1, 1].all()
    assert pair.valid[0, 0, 1].sum() == 1
    moved = (pair.points[0, 0, 1, 3, 4] - pair.points[0, 0, 0, 3, 4]).numpy()
    assert moved == pytest.approx([0, 1, 0], abs=1e-4)
    # Same-time maps of the second camera are in the first one's frame: its points are half a unit to the right.
    shift = (pair.points[0, 1, 1, 0, 0] - pair.points[0, 0, 0, 0, 0]).numpy()
    assert shift == pytest.approx([0.5, 0, 0], abs=1e-4)
    (tmp_path / "test" / "cab_h_bench" / "depths" / "depth_00002.png").unlink()
    with pytest.raises(InputError, match="3 images in rgbs/ and 2 maps"):
        read_dataset("pointodyssey", tmp_path)


def tapvid(path, frames):
    tracks = np.zeros((2, 3, 3))
    tracks[..., 2] = 4.0
    tracks[1, :, 0] = 0.4
    w2c = np.tile(np.eye(4), (2, 1, 1))
    w2c[1, 0, 3] = 0.4  # the camera goes left, the points stand
    np.savez(
        path,
        images_jpeg_bytes=frames,
        tracks_XYZ=tracks,
        visibility=np.ones((2, 3), bool),
        fx_fy_cx_cy=np.array([FOCAL, FOCAL, 3.5, 2.5]),
        extrinsics_w2c=w2c,
        queries_xyt=np.zeros((3, 3)),
    )


def test_tapvid3d(tmp_path):
    frames = np.empty(2, object)
    frames[:] = [jpeg(grey(i)) for i in (30, 60)]
    tapvid(tmp_path / "clip.npz", frames)
    (sequence,) = read_dataset("tapvid3d", tmp_path)
    assert abs(int(sequence.images[1][0, 0, 0]) - 60) < 3
    tracks = sequence.tracks
    assert tracks is not None
    assert tracks.points[0] == pytest.approx(tracks.points[1])
    assert tracks.pixels[1, 0] == pytest.approx([3.5 + 1, 2.5])
    assert tracks.visible.all()


def test_tapvid3d_with_plain_bytes(tmp_path):
    tapvid(tmp_path / "clip.npz", np.array([jpeg(grey(i)) for i in (30, 60)]))
    (sequence,) = read_dataset("tapvid3d", tmp_path)
    assert sequence.images[0].shape == (*SIZE, 3)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_tapvid3d_runs_nothing_from_a_file(tmp_path, capsys):
    frames = np.empty(2, object)
    frames[:] = [Evil(), b""]
    tapvid(tmp_path / "clip.npz", frames)
    assert pickle.loads(pickle.dumps(Evil())) is None  # a plain unpickler does run it
    capsys.readouterr()
    with pytest.raises(InputError, match="not allowed"):
        read_dataset("tapvid3d", tmp_path)
    assert capsys.readouterr().out == ""


def test_a_static_scene_has_all_four_maps(tmp_path):
    for i in range(2):
        write_image(tmp_path / "color" / f"{i:05d}.jpg", grey(i))
        write_image(tmp_path / "depth" / f"{i:05d}.png", np.full(SIZE, 2000, np.uint16))
    rows = [f"{i} {i} {i}\n1 0 0 {0.1 * i}\n0 1 0 0\n0 0 1 0\n0 0 0 1\n" for i in range(2)]
    write_text(tmp_path / "trajectory.log", "".join(rows))
    (sequence,) = read_dataset("redwood", tmp_path)
    pair = pair_truth(sequence, 0, 1)
    assert pair.valid.all()
    assert not pair.moving.any()
    assert pair.supervision.tolist() == [1]
    assert (pair.points[0, 0, 0] == pair.points[0, 0, 1]).all()
    assert pair.flow[0, 0, 2, 2].numpy() == pytest.approx([-525 * 0.1 / 2, 0], rel=1e-5)
    assert not pair.visible[0, 0].any()  # 26 px of flow leave an image of 8

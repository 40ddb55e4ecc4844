"""Readers of flow and scene flow on small files in the published layouts."""

import numpy as np
import pytest
from dataset_files import flo_bytes, grey, kitti_flow_image, write_bytes, write_image, write_text

from dpm_cli.errors import InputError
from dpm_cli.workshop.datasets import read_dataset

SIZE = (6, 8)


def flow_of(u, v):
    return np.broadcast_to(np.array((u, v), np.float32), (*SIZE, 2)).copy()


def sintel(root, by_kind):
    def at(kind, name):
        return (
            root / "training" / kind / "alley_2" / name
            if by_kind
            else root / "alley_2" / kind / name
        )

    M = np.array([[500, 0, 4], [0, 500, 3], [0, 0, 1.0]])
    for i in (1, 2, 3):
        stem = f"frame_{i:04d}"
        write_image(at("final", f"{stem}.png"), grey(10 * i))
        head = np.array([202021.25], "<f4").tobytes()
        depth = np.full(SIZE, i, "<f4")
        size = np.array(SIZE[::-1], "<i4").tobytes()
        write_bytes(at("depth", f"{stem}.dpt"), head + size + depth.tobytes())
        N = np.hstack((np.eye(3), [[0], [0], [i]]))
        write_bytes(at("camdata_left", f"{stem}.cam"), head + M.tobytes() + N.tobytes())
        if i < 3:
            write_bytes(at("flow", f"{stem}.flo"), flo_bytes(flow_of(i, -i)))
    hidden = np.zeros(SIZE, np.uint8)
    hidden[0] = 255
    write_image(at("occlusions", "frame_0001.png"), hidden)
    write_image(
        at("invalid", "frame_0001.png"),
        hidden.T.copy().reshape(SIZE) * 0 + np.eye(*SIZE, dtype=np.uint8),
    )
    return root


@pytest.mark.parametrize("by_kind", [True, False])
def test_sintel(tmp_path, by_kind):
    (sequence,) = read_dataset("sintel", sintel(tmp_path, by_kind))
    assert (sequence.name, len(sequence)) == ("alley_2", 3)
    assert sequence.images[1][0, 0].tolist() == [20, 20, 20]
    assert sequence.depth is not None
    assert sequence.depth[2] == pytest.approx(np.full(SIZE, 3.0))
    assert sequence.intrinsics is not None
    assert sequence.intrinsics[0, 0, 0] == 500
    # The file holds camera from world: a point at z of the world is i farther in camera i.
    assert sequence.cam2world is not None
    assert sequence.cam2world[:, 2, 3].tolist() == [-1, -2, -3]
    assert sequence.flow_pairs == ((0, 1), (1, 2))
    assert sequence.flow is not None
    first = sequence.flow[0]
    assert first.flow[3, 3].tolist() == [1, -1]
    assert first.valid.sum() == 48 - 6
    assert first.visible is not None
    assert not first.visible[0].any()
    assert sequence.flow[1].visible is None
    assert sequence.flow[1].valid.all()


def test_sintel_knows_its_passes(tmp_path):
    with pytest.raises(InputError, match="training/clean"):
        read_dataset("sintel-clean", sintel(tmp_path, True))


def test_middlebury(tmp_path):
    flow = flow_of(2, 1)
    flow[0, 0] = 1.7e9
    for i in (10, 11):
        write_image(tmp_path / "other-data" / "Grove2" / f"frame{i}.png", grey(i))
    write_bytes(tmp_path / "other-gt-flow" / "Grove2" / "flow10.flo", flo_bytes(flow))
    (sequence,) = read_dataset("middlebury", tmp_path)
    assert sequence.flow is not None
    truth = sequence.flow[0]
    assert truth.valid.sum() == 47
    assert truth.flow[0, 0].tolist() == [0, 0]
    assert truth.flow[1, 1].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("one", "two", "flow"),
    [
        ("00001_img1.ppm", "00001_img2.ppm", "00001_flow.flo"),
        ("07-img0.ppm", "07-img1.ppm", "07-gt.flo"),
    ],
)
def test_flyingchairs(tmp_path, one, two, flow):
    write_image(tmp_path / one, grey(1))
    write_bytes(tmp_path / flow, flo_bytes(flow_of(3, 4)))
    with pytest.raises(InputError, match=f"{two} is missing"):
        read_dataset("flyingchairs", tmp_path)
    write_image(tmp_path / two, grey(2))
    (sequence,) = read_dataset("flyingchairs", tmp_path)
    assert sequence.images[1][0, 0, 0] == 2
    assert sequence.flow is not None
    assert sequence.flow[0].flow[0, 0].tolist() == [3, 4]


def kitti(root):
    valid = np.ones(SIZE, bool)
    valid[0] = False
    for i in (10, 11):
        write_image(root / "training" / "image_2" / f"000000_{i}.png", grey(i))
    seen = valid.copy()
    seen[1] = False
    for kind, mask in (("flow_occ", valid), ("flow_noc", seen)):
        write_image(
            root / "training" / kind / "000000_10.png", kitti_flow_image(flow_of(4, 0), mask)
        )
    return root, valid


def test_kitti_flow(tmp_path):
    root, valid = kitti(tmp_path)
    (sequence,) = read_dataset("kitti-flow", root)
    assert sequence.flow is not None
    truth = sequence.flow[0]
    assert (truth.valid == valid).all()
    assert truth.visible is not None
    assert truth.visible.sum() == 32
    assert truth.flow[3, 3].tolist() == [4, 0]


def test_kitti_flow_of_a_single_pair(tmp_path):
    for i in (1, 2):
        write_image(tmp_path / f"frame{i}.png", grey(i))
    write_image(tmp_path / "flow_gt.png", kitti_flow_image(flow_of(-2.5, 1), np.ones(SIZE, bool)))
    (sequence,) = read_dataset("kitti-flow", tmp_path)
    assert sequence.flow is not None
    assert sequence.flow[0].flow[0, 0].tolist() == [-2.5, 1]


def test_kitti_scene_flow(tmp_path):
    root, valid = kitti(tmp_path)
    base = root / "training"
    # f b = 100 * .5 = 50: disparity 10 is z = 5 m, later 12.5 is 4 m; flow 4 px to the right.
    write_image(base / "disp_occ_0" / "000000_10.png", np.full(SIZE, 10 * 256, np.uint16))
    write_image(base / "disp_occ_1" / "000000_10.png", np.full(SIZE, 3200, np.uint16))
    write_text(
        base / "calib_cam_to_cam" / "000000.txt",
        "calib_time: today\nP_rect_02: 100 0 4 10 0 100 3 0 0 0 1 0\nP_rect_03: 100 0 4 -40 0 100 3 0 0 0 1 0\n",
    )
    objects = np.zeros(SIZE, np.uint8)
    objects[4] = 3
    write_image(base / "obj_map" / "000000_10.png", objects)
    (sequence,) = read_dataset("kitti-sceneflow", root)
    assert sequence.scene_flow is not None
    truth = sequence.scene_flow[0]
    assert (truth.valid == valid).all()
    assert truth.points_first[3, 4] == pytest.approx([0, 0, 5])
    assert truth.points_second[3, 4] == pytest.approx([4 / 100 * 4, 0, 4])
    assert (truth.points_second[0] == 0).all()
    assert truth.second_from_first is None
    assert sequence.masks is not None
    assert sequence.masks[0].sum() == 8
    motion = np.eye(4)
    motion[2, 3] = -1
    write_text(
        base / "derived" / "000000_T_11_from_10.txt",
        "\n".join(" ".join(map(str, r)) for r in motion),
    )
    (sequence,) = read_dataset("kitti-sceneflow", root)
    assert sequence.cam2world is not None
    assert sequence.cam2world[1, 2, 3] == 1


def test_spring(tmp_path):
    h5py = pytest.importorskip("h5py")
    root = tmp_path / "train" / "0001"
    for i in (1, 2):
        write_image(root / "frame_left" / f"frame_left_{i:04d}.png", grey(i))
    write_text(root / "cam_data" / "intrinsics.txt", "100 100 4 3\n100 100 4 3\n")
    motions = [np.eye(4), np.eye(4)]
    motions[1][2, 3] = -0.5
    write_text(
        root / "cam_data" / "extrinsics.txt",
        "\n".join(" ".join(map(str, m.ravel())) for m in motions),
    )
    big = (2 * SIZE[0], 2 * SIZE[1])
    disparity = np.full(big, 1.3, np.float32)  # z = 100 * .065 / 1.3 = 5
    disparity[0, 0] = np.nan
    for kind, name, value in (
        ("disp1_left", "disp1_left_0001.dsp5", disparity),
        ("disp1_left", "disp1_left_0002.dsp5", disparity),
        ("disp2_FW_left", "disp2_FW_left_0001.dsp5", disparity * np.float32(5 / 4.5)),
        ("flow_FW_left", "flow_FW_left_0001.flo5", np.zeros((*big, 2), np.float32)),
    ):
        (root / kind).mkdir(exist_ok=True)
        with h5py.File(root / kind / name, "w") as file:
            key = "flow" if kind.startswith("flow") else "disparity"
            file.create_dataset(key, data=value, compression="gzip", compression_opts=5)
    (sequence,) = read_dataset("spring", tmp_path)
    assert sequence.depth is not None
    assert sequence.depth[0][1, 1] == pytest.approx(5.0)
    assert sequence.depth[0][0, 0] == 0
    assert sequence.cam2world is not None
    assert sequence.cam2world[1, 2, 3] == pytest.approx(0.5)
    assert sequence.scene_flow is not None
    truth = sequence.scene_flow[0]
    assert truth.points_second[3, 4] == pytest.approx([0, 0, 4.5])
    assert truth.second_from_first == pytest.approx(motions[1])
    assert truth.valid.sum() == 47

"""The paper's seven training sets, from files in their published layouts to pairs of the mix: what each one supervises.

All show the same wall, 2 m away, to a camera that steps 0.1 m to the right a frame.
"""

import numpy as np
import pytest
import torch
from dataset_files import exr_bytes, png, record_bytes, write_bytes, write_text
from test_training_sets import (
    DEPTH_M,
    FOCAL,
    SIZE,
    blendedmvs,
    megadepth,
    scannetpp,
    wall_image,
    write_image,
)

from dpm_cli.structures import PairTruth
from dpm_cli.workshop.datasets.four_maps import pair_truth
from dpm_cli.workshop.datasets.training_mix import TRAINING_SETS, RealPairs, open_training_set
from dpm_cli.workshop.datasets.training_overlap import shared_view
from dpm_cli.workshop.datasets.training_static import read_scannetpp

STEP_M = 0.1
K = np.array([[FOCAL, 0, 15.5], [0, FOCAL, 11.5], [0, 0, 1]])


def camera_pose(i: int) -> np.ndarray:
    """cam2world, OpenCV axes."""
    pose = np.eye(4)
    pose[0, 3] = STEP_M * i
    return pose


def movi(root, h5py):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    ray = np.sqrt(((x - K[0, 2]) / FOCAL) ** 2 + ((y - K[1, 2]) / FOCAL) ** 2 + 1)
    counts = np.round((DEPTH_M * ray - 1) / 4 * 65535).astype(np.uint16)
    ids = np.zeros(SIZE, np.uint8)
    ids[10:14, 10:14] = 1  # a part of the wall that moves by itself, 0.2 m up a frame
    positions = np.array([[[0, -0.2 * i, 0] for i in range(3)]], np.float32)
    features = {
        "video": [png(wall_image(i)) for i in range(3)],
        "depth": [png(counts)] * 3,
        "segmentations": [png(ids)] * 3,
        "metadata/depth_range": np.array([1, 5], np.float32),
        "metadata/video_name": [b"7"],
        "camera/positions": np.array([[STEP_M * i, 0, 0] for i in range(3)], np.float32).ravel(),
        "camera/quaternions": np.tile(np.array([0, 1, 0, 0], np.float32), 3),
        "camera/focal_length": np.array([FOCAL], np.float32),
        "camera/sensor_width": np.array([SIZE[1]], np.float32),
        "instances/positions": positions.ravel(),
        "instances/quaternions": np.tile(np.array([1, 0, 0, 0], np.float32), 3),
    }
    write_bytes(root / "movi_f-train.tfrecord-00000-of-00001", record_bytes(features))


def pointodyssey(root, h5py):
    sequence = root / "train" / "ani"
    for i in range(3):
        write_image(sequence / "rgbs" / f"rgb_{i:05d}.jpg", wall_image(i))
        counts = np.full(SIZE, round(DEPTH_M / 1000 * 65535), np.uint16)
        write_image(sequence / "depths" / f"depth_{i:05d}.png", counts)
    extrinsics = np.stack([np.linalg.inv(camera_pose(i)) for i in range(3)])
    tracks = np.tile(np.array((0.1, 0.1, DEPTH_M)), (3, 1, 1))
    seen = (tracks + extrinsics[:, None, :3, 3]) @ K.T
    np.savez(
        sequence / "anno.npz",
        trajs_2d=(seen[..., :2] / seen[..., 2:]).astype(np.float32),
        trajs_3d=tracks.astype(np.float32),
        visibs=np.ones((3, 1), bool),
        valids=np.ones((3, 1), bool),
        intrinsics=np.tile(K, (3, 1, 1)),
        extrinsics=extrinsics,
    )


def waymo(root, h5py):
    for i in range(3):
        stem = root / "segment-1.tfrecord" / f"{i:05d}_1"
        write_image(stem.with_suffix(".jpg"), wall_image(i))
        sparse = np.zeros(SIZE, np.float32)
        sparse[::5, i::7] = DEPTH_M  # laser returns hit other pixels in every frame
        write_bytes(stem.with_suffix(".exr"), exr_bytes(sparse))
        np.savez(stem.with_suffix(".npz"), intrinsics=K, cam2world=camera_pose(i))


def spring(root, h5py):
    sequence = root / "train" / "0001"
    for i in range(3):
        write_image(sequence / "frame_left" / f"frame_left_{i + 1:04d}.png", wall_image(i))
        path = sequence / "disp1_left" / f"disp1_left_{i + 1:04d}.dsp5"
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            file["disparity"] = np.full(
                (2 * SIZE[0], 2 * SIZE[1]), FOCAL * 0.065 / DEPTH_M, np.float32
            )
    write_text(sequence / "cam_data" / "intrinsics.txt", f"{FOCAL} {FOCAL} 15.5 11.5\n" * 3)
    rows = [" ".join(str(v) for v in np.linalg.inv(camera_pose(i)).ravel()) for i in range(3)]
    write_text(sequence / "cam_data" / "extrinsics.txt", "\n".join(rows))


WRITERS = {
    "movi": movi,
    "pointodyssey": pointodyssey,
    "waymo": waymo,
    "spring": spring,
    "scannetpp": lambda root, h5py: scannetpp(root),
    "blendedmvs": lambda root, h5py: blendedmvs(root),
    "megadepth": megadepth,
}
NEEDS_HDF5 = {"spring", "megadepth"}


def drawn(name: str, root) -> PairTruth:
    """Pairs of the mix, as training gets them."""
    h5py = pytest.importorskip("h5py") if name in NEEDS_HDF5 else None
    WRITERS[name](root, h5py)
    source = RealPairs(open_training_set(name, root), (1, 2))
    return source.draw(4, SIZE, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(TRAINING_SETS))
def test_pairs_of_every_set_show_the_wall_where_it_is(name, tmp_path):
    truth = drawn(name, tmp_path)
    own = torch.stack((truth.points[:, 0, 0], truth.points[:, 1, 1]), 1)
    known = torch.stack((truth.valid[:, 0, 0], truth.valid[:, 1, 1]), 1)
    assert known.flatten(1).any(1).all()
    assert torch.allclose(own[..., 2][known], torch.tensor(DEPTH_M), atol=0.01)
    moved = truth.cam2_from_cam1[:, 0, 3].abs()
    assert set((moved / STEP_M).round().int().tolist()) <= {1, 2}
    assert (shared_view(truth) > 0.5).all()
    for value in vars(truth).values():
        assert value.float().isfinite().all()


@pytest.mark.parametrize("name", ["scannetpp", "blendedmvs", "megadepth"])
def test_static_sets_have_one_target_for_both_times(name, tmp_path):
    truth = drawn(name, tmp_path)
    assert truth.supervision.tolist() == [1] * 4
    assert truth.valid.all()
    assert torch.equal(truth.points[:, :, 0], truth.points[:, :, 1])


@pytest.mark.parametrize("name", ["spring", "waymo"])
def test_sets_without_motion_know_each_view_at_its_own_time_only(name, tmp_path):
    truth = drawn(name, tmp_path)
    assert truth.supervision.tolist() == [2] * 4
    assert not truth.valid[:, 0, 1].any()
    assert not truth.valid[:, 1, 0].any()
    assert truth.valid[:, 0, 0].float().mean() > (0.9 if name == "spring" else 0.02)


def test_pointodyssey_knows_the_other_time_at_its_tracks(tmp_path):
    truth = drawn("pointodyssey", tmp_path)
    assert truth.valid[:, 0, 0].all()
    assert truth.valid[:, 0, 1].flatten(1).sum(1).tolist() == [1] * 4


def test_movi_knows_all_four_maps(tmp_path):
    truth = drawn("movi", tmp_path)
    assert truth.valid.all()
    frames = (truth.cam2_from_cam1[:, 0, 3].abs() / STEP_M).round()
    rise = (truth.points[:, 0, 1] - truth.points[:, 0, 0])[truth.moving[:, 0]].norm(dim=-1)
    assert truth.moving[:, 0].flatten(1).sum(1).tolist() == [16] * 4
    assert torch.allclose(rise, (0.2 * frames).repeat_interleave(16), atol=1e-3)


def test_shared_view_counts_what_leaves_the_image_and_what_is_hidden(tmp_path):
    sequence = read_scannetpp(scannetpp(tmp_path))[0]
    truth = pair_truth(sequence, 0, 2)  # 0.2 m at 2 m and 30 px: 3 columns leave
    assert shared_view(truth).tolist() == pytest.approx([29 / 32])
    points = truth.points.clone()
    points[:, 1, :, :, 16:] *= 0.5  # something near covers the right half of image 2
    hidden = PairTruth(**{**vars(truth), "points": points})
    assert 0.35 < float(shared_view(hidden)) < 0.55

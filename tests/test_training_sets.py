"""Training readers on a few files written here in the published layouts, and the mix of them."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dpm_cli.errors import InputError, MissingExtraError, UsageError
from dpm_cli.workshop.datasets.four_maps import pair_truth
from dpm_cli.workshop.datasets.rasters import read_hdf5
from dpm_cli.workshop.datasets.training_colmap import covisible, read_colmap
from dpm_cli.workshop.datasets.training_mix import TRAINING_SETS, RealPairs, open_training_set
from dpm_cli.workshop.datasets.training_static import (
    read_blendedmvs,
    read_megadepth,
    read_scannetpp,
)
from dpm_cli.workshop.datasets.truth import Lazy, SequenceTruth

SIZE = (24, 32)
FOCAL, DEPTH_M = 30.0, 2.0


def wall_image(shift_px: int) -> np.ndarray:
    """A textured wall as a camera sees it that stands `shift_px` pixels to the right."""
    x = np.arange(SIZE[1]) + shift_px
    y = np.arange(SIZE[0])[:, None]
    return np.stack(
        (60 + 40 * np.sin(x / 3) + 0 * y, 90 + 30 * np.cos(y / 2) + 0 * x, 0 * x + 0 * y + 50), -1
    ).astype(np.uint8)


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def check_wall(sequence: SequenceTruth, step_m: float) -> None:
    """Three cameras `step_m` apart before a wall: flow, points and supervision of a pair."""
    assert len(sequence) == 3
    truth = pair_truth(sequence, 0, 1)
    assert truth.supervision.tolist() == [1]
    assert truth.valid.all()
    assert torch.allclose(truth.points[..., 2], torch.tensor(DEPTH_M), atol=2e-3)
    assert torch.equal(truth.points[:, :, 0], truth.points[:, :, 1])
    assert not truth.moving.any()
    expected = -FOCAL * step_m / DEPTH_M
    assert torch.allclose(truth.flow[:, 0, ..., 0], torch.tensor(expected), atol=0.05)
    assert truth.flow[:, 0, ..., 1].abs().max() < 0.05
    assert truth.cam2_from_cam1[0, 0, 3].item() == pytest.approx(-step_m, abs=1e-4)


def blendedmvs(root: Path) -> Path:
    scene = root / "5a3ca9cb270f0e3f14d0eddb"
    for i in range(3):
        write_image(scene / "blended_images" / f"{i:08d}.jpg", wall_image(i))
        write_image(
            scene / "rendered_depth_maps" / f"{i:08d}.pfm", np.full(SIZE, DEPTH_M, np.float32)
        )
        extrinsic = np.eye(4)
        extrinsic[0, 3] = -0.1 * i
        rows = "\n".join(" ".join(str(v) for v in row) for row in extrinsic)
        K = f"{FOCAL} 0 15.5\n0 {FOCAL} 11.5\n0 0 1"
        (scene / "cams").mkdir(exist_ok=True)
        (scene / "cams" / f"{i:08d}_cam.txt").write_text(
            f"extrinsic\n{rows}\n\nintrinsic\n{K}\n\n0.5 0.01\n"
        )
    # The layout of the published lists: every view's best partners; one of them is not in this folder.
    (scene / "cams" / "pair.txt").write_text(
        "3\n0\n2 2 50.5 1 0\n1\n2 2 30.25 7 12.5\n2\n1 0 50.5\n"
    )
    return root


def scannetpp(root: Path) -> Path:
    dslr = root / "data" / "7b6477cb95" / "dslr"
    frames = []
    for i in range(3):
        name = f"DSC0000{i}.JPG"
        write_image(dslr / "undistorted_images" / name, wall_image(i))
        write_image(
            dslr / "undistorted_depths" / f"DSC0000{i}.png",
            np.full(SIZE, DEPTH_M * 1000, np.uint16),
        )
        pose = np.diag((1.0, -1.0, -1.0, 1.0))
        pose[0, 3] = 0.1 * i
        frames.append({"file_path": name, "transform_matrix": pose.tolist(), "is_bad": False})
    model = {
        "fl_x": FOCAL, "fl_y": FOCAL, "cx": 16.0, "cy": 12.0, "w": 32, "h": 24, "camera_model": "PINHOLE",
        "frames": frames[::-1], "test_frames": [],
    }  # fmt: skip
    (dslr / "nerfstudio").mkdir()
    (dslr / "nerfstudio" / "transforms_undistorted.json").write_text(json.dumps(model))
    return root


def megadepth(root: Path, h5py) -> Path:
    scene = root / "0001"
    model = scene / "sparse" / "manhattan" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text(
        f"# cameras\n# x\n# y\n1 SIMPLE_RADIAL 32 24 {FOCAL} 16 12 0.0\n"
    )
    lines = ["# images"] * 4
    for i in range(3):
        write_image(scene / "dense0" / "imgs" / f"{i}_o.jpg", wall_image(i))
        (scene / "dense0" / "depths").mkdir(exist_ok=True)
        with h5py.File(scene / "dense0" / "depths" / f"{i}_o.h5", "w") as file:
            file["depth"] = np.full(SIZE, DEPTH_M, np.float32)
        # The first two images share four points of five, the last shares one of nine.
        seen = (10, 11, 12, 13, 20 + i) if i < 2 else (13, *range(30, 38))
        points = " ".join(f"1.5 2.5 {n}" for n in (*seen, -1))
        lines += [f"{i + 1} 1 0 0 0 {-0.1 * i} 0 0 1 {i}_o.jpg", points]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    return root


def test_blendedmvs(tmp_path):
    sequence = read_blendedmvs(blendedmvs(tmp_path))[0]
    assert sequence.intrinsics is not None
    assert sequence.intrinsics[0, 0, 2] == 15.5
    check_wall(sequence, 0.1)
    assert sequence.partners is not None
    assert sequence.partners.tolist() == [[0, 2], [1, 2], [2, 0]]


def test_a_damaged_view_list_is_said(tmp_path):
    blendedmvs(tmp_path)
    pairs = next(tmp_path.glob("*/cams/pair.txt"))
    pairs.write_text("3\n0\n2 2 50.5\n")
    with pytest.raises(InputError, match=r"pair\.txt: expected"):
        read_blendedmvs(tmp_path)
    pairs.unlink()
    assert read_blendedmvs(tmp_path)[0].partners is None


def test_scannetpp(tmp_path):
    sequence = read_scannetpp(scannetpp(tmp_path))[0]
    assert sequence.metric
    check_wall(sequence, 0.1)


def test_megadepth(tmp_path):
    h5py = pytest.importorskip("h5py")
    sequence = read_megadepth(megadepth(tmp_path, h5py))[0]
    check_wall(sequence, 0.1)
    assert sequence.partners is not None
    assert sequence.partners.tolist() == [[0, 1]]
    batch = RealPairs([sequence]).draw(6, (16, 16), torch.Generator().manual_seed(0))
    shifts = (batch.cam2_from_cam1[:, 0, 3] / 0.1).round()
    assert set(shifts.tolist()) == {1.0, -1.0}


def test_hdf5_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"h5py is not installed.*dpm-cli\[eval\]"):
        read_hdf5(tmp_path / "a.h5", "depth")


def test_colmap_models(tmp_path):
    (tmp_path / "cameras.txt").write_text(
        "# c\n1 SIMPLE_RADIAL 40 20 30 20 10 0.1\n2 PINHOLE 60 50 31 32 30 25\n"
    )
    (tmp_path / "images.txt").write_text(
        "# i\n2 0.70710678 0 0.70710678 0 1 2 3 2 b b.jpg\n\n1 1 0 0 0 -1 0 0 1 a.jpg\n5 6 -1\n"
    )
    first, second = read_colmap(tmp_path)
    assert (first.name, second.name) == ("a.jpg", "b b.jpg")
    assert first.radial == 0.1
    assert first.points.tolist() == []
    assert covisible((first, second)) is None
    assert first.size == (20, 40)
    assert np.allclose(first.K, [[30, 0, 19.5], [0, 30, 9.5], [0, 0, 1]])
    assert np.allclose(first.cam2world[:3, 3], (1, 0, 0))
    assert np.allclose(second.K[:2, :2], np.diag((31, 32)))
    # Quarter turn about y maps the world's z to the camera's x.
    assert np.allclose(np.linalg.inv(second.cam2world)[:3, 2], (1, 0, 0), atol=1e-6)
    (tmp_path / "cameras.txt").write_text("1 OPENCV_FISHEYE 4 4 1 1 1 1 0 0 0 0\n")
    with pytest.raises(InputError, match="OPENCV_FISHEYE"):
        read_colmap(tmp_path)


@pytest.mark.parametrize("name", sorted(TRAINING_SETS))
def test_wrong_folders_are_said_in_one_line(tmp_path, name):
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(InputError, match=r"other\.txt"):
        open_training_set(name, tmp_path)


def test_unknown_set():
    with pytest.raises(UsageError, match="megadepth"):
        open_training_set("imagenet", Path("."))


def test_the_mix_draws_pairs_of_one_size_that_share_view(tmp_path):
    sequences = read_blendedmvs(blendedmvs(tmp_path / "b")) + read_scannetpp(
        scannetpp(tmp_path / "s")
    )
    source = RealPairs(sequences, (1, 2), {"blendedmvs": 1.0, "scannetpp": 0.0})
    batch = source.draw(4, (16, 16), torch.Generator().manual_seed(0))
    assert batch.images.shape == (4, 2, 3, 16, 16)
    assert batch.points.shape == (4, 2, 2, 16, 16, 3)
    assert batch.supervision.tolist() == [1] * 4
    strides = (batch.cam2_from_cam1[:, 0, 3].abs() / 0.1).round()
    assert set(strides.tolist()) == {1.0, 2.0}
    assert torch.allclose(batch.points[:, 0, 0, ..., 2], torch.tensor(DEPTH_M), atol=1e-4)
    again = source.draw(4, (16, 16), torch.Generator().manual_seed(0))
    assert torch.equal(batch.images, again.images)


def test_the_mix_refuses_what_it_cannot_use(tmp_path):
    images = Lazy((0, 1), lambda i: wall_image(i))
    with pytest.raises(InputError, match="nothing to train on"):
        RealPairs([SequenceTruth("x", "y", images)])
    apart = read_blendedmvs(blendedmvs(tmp_path))[0]
    assert apart.cam2world is not None
    apart.cam2world[:, 0, 3] *= 1000
    with pytest.raises(InputError, match="too little view"):
        RealPairs([apart]).draw(1, (16, 16), torch.Generator().manual_seed(0))

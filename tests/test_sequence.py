"""The run folder and the npz file as one sequence."""

import numpy as np
import pytest
import torch
from toy_sequence import toy_arrays, toy_frames, toy_header

from dpm_cli.errors import InputError
from dpm_cli.geometry.camera import project_map, unproject
from dpm_cli.sequence import RunWriter, Sequence4D, describe_sequence, read_manifest
from dpm_cli.sequence.frame import FRAME_KEYS
from dpm_cli.structures import Cameras


def write_run(folder, header, frames, manifest=None) -> RunWriter:
    writer = RunWriter(folder, manifest or {"input": ["a.mp4"]})
    for t, frame in enumerate(frames):
        writer.write_frame(t, frame)
    writer.write_cameras(header)
    writer.write_manifest()
    return writer


@pytest.fixture
def toy(tmp_path):
    header = toy_header()
    frames = toy_frames(header)
    write_run(tmp_path / "run", header, frames)
    return header, frames, Sequence4D.open(tmp_path / "run")


def test_run_folder_gives_back_what_was_written(toy):
    header, frames, sequence = toy
    assert len(sequence) == 4
    assert (sequence.size, sequence.source_size) == ((24, 36), (60, 90))
    for t, frame in enumerate(frames):
        back = sequence.frame(t)
        for key in FRAME_KEYS:
            expected, found = getattr(frame, key), getattr(back, key)
            assert (expected is None) == (found is None), key
            if expected is not None:
                np.testing.assert_array_equal(found, expected)
    for key, array in header.arrays().items():
        np.testing.assert_array_equal(sequence.header.arrays()[key], array)


def test_points_and_flow_obey_the_two_laws(toy):
    _, _, sequence = toy
    K = torch.from_numpy(sequence.intrinsics)
    y, x = np.mgrid[: sequence.size[0], : sequence.size[1]]
    for t in range(len(sequence) - 1):
        frame = sequence.frame(t)
        points = sequence.read(t, "points")
        pose = sequence.cam2world[t]
        own = unproject(torch.from_numpy(frame.depth).double(), K[t]).numpy()
        np.testing.assert_allclose(points, own @ pose[:3, :3].T + pose[:3, 3], atol=1e-5)
        world2cam = np.linalg.inv(sequence.cam2world[t + 1])
        moved = (points + frame.scene_flow_fwd) @ world2cam[:3, :3].T + world2cam[:3, 3]
        pixels = project_map(torch.from_numpy(moved), K[t + 1]).numpy()
        np.testing.assert_allclose(pixels, np.stack((x, y), -1) + frame.flow_fwd, atol=1e-3)


def test_intrinsics_of_the_source_follow_the_affine(toy):
    _, _, sequence = toy
    K = sequence.intrinsics_source[0]
    assert K[0, 0] == pytest.approx(40 * 2.5)
    assert K[0, 2] == pytest.approx((90 - 1) / 2)
    assert K[1, 2] == pytest.approx((60 - 1) / 2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_the_same_sequence(tmp_path, toy, save):
    header, frames, sequence = toy
    arrays = toy_arrays(header, frames)
    save(tmp_path / "a.npz", **arrays)
    for other in (Sequence4D.open(tmp_path / "a.npz"), Sequence4D.from_arrays(arrays)):
        assert len(other) == 4
        assert other.manifest is None
        for key in ("images", "points", "flow_bwd", "scene_flow_fwd", "flow_fwd_valid", "valid"):
            np.testing.assert_array_equal(other.arrays(key), arrays[key])
            np.testing.assert_array_equal(sequence.arrays(key), arrays[key])
        assert other.frame(0).flow_bwd is None
        assert other.frame(3).flow_fwd is None


def test_one_frame_has_no_rows_of_motion(tmp_path):
    header = toy_header(1)
    write_run(tmp_path / "run", header, toy_frames(header))
    sequence = Sequence4D.open(tmp_path / "run")
    assert sequence.arrays("flow_fwd").shape == (0, 24, 36, 2)
    assert sequence.arrays("scene_flow_bwd").shape == (0, 24, 36, 3)
    assert sequence.arrays("flow_bwd_valid").shape == (0, 24, 36)
    assert sequence.arrays("flow_bwd_valid").dtype == bool


def test_frames_that_are_not_finite_are_refused(tmp_path):
    header = toy_header()
    frame = toy_frames(header)[0]
    frame.depth[3, 3] = np.nan
    writer = RunWriter(tmp_path / "run", {})
    with pytest.raises(ValueError, match=r"depth of 000000\.npz is not finite"):
        writer.write_frame(0, frame)


def test_stages_survive_in_the_manifest(tmp_path):
    writer = RunWriter(tmp_path, {"input": ["a"]})
    writer.stage_done("decode")
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    RunWriter(tmp_path, manifest).stage_done("frames")
    again = read_manifest(tmp_path)
    assert again is not None
    assert again["stages"] == ["decode", "frames"]
    assert read_manifest(tmp_path / "nothing") is None


def test_what_is_no_run_is_said_in_one_line(tmp_path, toy):
    with pytest.raises(InputError, match="does not exist"):
        Sequence4D.open(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is it a run"):
        Sequence4D.open(tmp_path / "empty")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="needs the keys depth, images and cameras"):
        Sequence4D.open(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as a result of dpm"):
        Sequence4D.open(tmp_path / "text.npz")
    damaged = tmp_path / "run" / "frames" / "000001.npz"
    damaged.write_bytes(damaged.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"000001\.npz cannot be read"):
        Sequence4D.open(tmp_path / "run").frame(1)
    (tmp_path / "run" / "frames" / "000002.npz").unlink()
    with pytest.raises(InputError, match=r"000002.npz is missing: finish it"):
        Sequence4D.open(tmp_path / "run")
    (tmp_path / "run" / "dpm.json").write_text("{")
    with pytest.raises(InputError, match="--overwrite"):
        read_manifest(tmp_path / "run")


def test_description_counts_registered_cameras(tmp_path):
    header = toy_header()
    cameras = Cameras(header.cameras.cam2world, header.cameras.intrinsics, np.arange(4) < 3)
    header = type(header)(**{**vars(header), "cameras": cameras})
    write_run(tmp_path / "run", header, toy_frames(header), {"version": "1.2"})
    facts = describe_sequence(tmp_path / "run")
    assert (facts["frames"], facts["cameras_registered"], facts["version"]) == (4, 3, "1.2")
    assert facts["fov_deg"] == pytest.approx(2 * np.degrees(np.arctan(18 / 40)), abs=1e-3)
    RunWriter(tmp_path / "half", {"notes": ["x"]}).write_manifest()
    assert describe_sequence(tmp_path / "half")["kind"] == "unfinished run"

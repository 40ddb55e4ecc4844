"""Whole runs with a predictor that knows the truth: what goes in exactly must come out exactly."""

import shutil
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
from oracle import OraclePredictor
from pictures import write_photos
from truth_arrays import sequence_arrays

from dpm_cli.config import ClipSettings, ReconstructSettings
from dpm_cli.errors import UsageError
from dpm_cli.formats.ply import read_ply
from dpm_cli.passes.run import GRID_POINTS, grid_spacing
from dpm_cli.pipeline import reconstruct
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import Sequence4D, read_manifest
from dpm_cli.tracking import track
from dpm_cli.workshop.synthetic import render_clip, scene_seed

FRAMES, SIZE = 6, (64, 96)
ORACLE = ReconstructSettings(model="oracle", device="cpu", batch_size=3, pairs="1,2,4")


@pytest.fixture(scope="module")
def truth():
    return render_clip(scene_seed("test", 1), FRAMES, SIZE, camera="orbit")


@pytest.fixture(scope="module")
def photos(truth, tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), truth)


@pytest.fixture
def oracle(truth, monkeypatch):
    predictor = OraclePredictor(truth)
    monkeypatch.setitem(LOADERS, "oracle", lambda weights, device, dtype: predictor)
    return predictor


@pytest.fixture(scope="module")
def finished(truth, photos, tmp_path_factory):
    """One run of the oracle without outputs, shared by the tests that only read it."""
    LOADERS["oracle"] = lambda weights, device, dtype: OraclePredictor(truth)
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = ReconstructSettings(
        model="oracle", device="cpu", batch_size=3, pairs="1,2,4", formats=()
    )
    yield reconstruct(str(photos), folder, settings), folder
    del LOADERS["oracle"]


def scale_to(sequence, reference):
    valid = sequence.arrays("valid") & reference.arrays("valid")
    return float(np.median((reference.arrays("depth") / sequence.arrays("depth"))[valid]))


def test_exact_maps_in_exact_sequence_out(truth, finished):
    sequence, _ = finished
    reference = Sequence4D.from_arrays(sequence_arrays(truth))
    scale = scale_to(sequence, reference)
    valid = reference.arrays("valid")
    assert (sequence.arrays("valid") >= valid).mean() > 0.999
    reach = np.median(reference.arrays("depth")[valid])
    np.testing.assert_allclose(
        sequence.cam2world[:, :3, :3], reference.cam2world[:, :3, :3], atol=2e-4
    )
    np.testing.assert_allclose(
        sequence.cam2world[:, :3, 3] * scale, reference.cam2world[:, :3, 3], atol=3e-4 * reach
    )
    np.testing.assert_allclose(sequence.intrinsics, reference.intrinsics, rtol=1e-3, atol=1e-6)
    error = np.abs(
        sequence.arrays("depth") * scale / np.where(valid, reference.arrays("depth"), 1) - 1
    )
    assert error[valid].max() < 2e-3
    assert np.median(error[valid]) < 1e-4
    for key in ("scene_flow_fwd", "scene_flow_bwd"):
        rows = valid[:-1] if key.endswith("fwd") else valid[1:]
        off = np.linalg.norm(sequence.arrays(key) * scale - reference.arrays(key), axis=-1)[rows]
        assert np.quantile(off, 0.99) < 1e-3 * reach, key
    for key in ("flow_fwd", "flow_bwd"):
        rows = valid[:-1] if key.endswith("fwd") else valid[1:]
        off = np.linalg.norm(sequence.arrays(key) - reference.arrays(key), axis=-1)[rows]
        assert np.quantile(off, 0.99) < 0.05, key


class WideEyed(OraclePredictor):
    """Believes that the focal length is 15 % shorter than it is, and is not too sure of its depth."""

    def predict(self, features_1, features_2):
        exact = super().predict(features_1, features_2)
        stretched = exact.points / exact.points.new_tensor((0.85, 0.85, 1.0))
        return replace(exact, points=stretched, confidence=exact.confidence.clamp_max(4.0))


def movers_residual_px(sequence):
    """Median distance of where movers' scene flow leads to from where their optical flow does (the second law)."""
    off = []
    for t in range(len(sequence) - 1):
        frame = sequence.frame(t)
        moving = frame.valid & frame.flow_fwd_valid & (frame.dynamic > 0.5)
        later = (sequence.read(t, "points") + frame.scene_flow_fwd)[moving]
        local = (later - sequence.cam2world[t + 1, :3, 3]) @ sequence.cam2world[t + 1, :3, :3]
        seen = local @ sequence.intrinsics[t + 1].T
        y, x = np.nonzero(moving)
        led = np.stack((x, y), -1) + frame.flow_fwd[moving]
        off.append(np.linalg.norm(seen[:, :2] / seen[:, 2:] - led, axis=1))
    return np.median(np.concatenate(off))


@pytest.mark.parametrize("given", [False, True])
def test_flows_draw_a_wrong_focal_length_to_the_truth_unless_it_was_given(
    truth, photos, tmp_path, monkeypatch, given
):
    monkeypatch.setitem(LOADERS, "oracle", lambda weights, device, dtype: WideEyed(truth))
    true_px = float(truth.intrinsics[0, 0, 0, 0])
    wrong_px = 0.85 * true_px
    settings = replace(
        ORACLE,
        formats=(),
        intrinsics=f"{wrong_px},{wrong_px},{(SIZE[1] - 1) / 2},{(SIZE[0] - 1) / 2}"
        if given
        else None,
    )
    sequence = reconstruct(str(photos), tmp_path / "run", settings)
    found_px = float(sequence.intrinsics[0, 0, 0])
    manifest = read_manifest(tmp_path / "run")
    assert manifest is not None
    assert manifest["focal"]["focal_px"] == pytest.approx(found_px)
    if given:
        assert found_px == pytest.approx(wrong_px)
        assert manifest["focal"]["source"] == "given"
    else:
        # Six small frames say little beside what the shipped prior allows, so the step is short.
        assert 1.01 * wrong_px < found_px < true_px
        assert manifest["focal"]["source"] == "flows"
        assert movers_residual_px(sequence) < 0.008


def test_the_two_laws_hold_on_disk(finished):
    sequence, folder = finished
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest["quality"]["flow_residual_px"] < 0.02
    points = sequence.arrays("points")
    for t in range(FRAMES):
        camera = (points[t] - sequence.cam2world[t, :3, 3]) @ sequence.cam2world[t, :3, :3]
        np.testing.assert_allclose(camera[..., 2], sequence.frame(t).depth, rtol=1e-4)
        pixels = camera @ sequence.intrinsics[t].T
        pixels = pixels[..., :2] / pixels[..., 2:]
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        np.testing.assert_allclose(pixels, np.stack((x, y), -1), atol=1e-2)


def test_the_manifest_tells_the_whole_story(finished):
    _, folder = finished
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest["stages"] == ["frames", "outputs"]
    assert manifest["working_size"] == list(SIZE)
    assert len(manifest["frames"]) == FRAMES
    assert manifest["model"]["name"] == "oracle"
    assert manifest["batch_size"] == 3
    assert manifest["pairs"] == 5 + 4 + 2
    assert manifest["peak_memory_bytes"]["ram"] > 0
    assert not (folder / ".dpm_work").exists()


class Dies(RuntimeError):
    pass


def test_a_stopped_run_goes_on_and_equals_an_uninterrupted_one(
    oracle, photos, finished, tmp_path, monkeypatch
):
    calls = []
    whole = OraclePredictor.predict

    def dying(self, features_1, features_2):
        calls.append(1)
        if len(calls) == 3:
            raise Dies
        return whole(self, features_1, features_2)

    settings = ReconstructSettings(
        model="oracle", device="cpu", batch_size=3, pairs="1,2,4", formats=()
    )
    monkeypatch.setattr(OraclePredictor, "predict", dying)
    with pytest.raises(Dies):
        reconstruct(str(photos), tmp_path / "run", settings)
    sequence = reconstruct(str(photos), tmp_path / "run", settings)
    assert len(calls) == 3 + 2, "the two finished batches of four are not predicted again"
    reference, _ = finished
    for key in ("depth", "scene_flow_fwd", "dynamic", "confidence"):
        np.testing.assert_array_equal(sequence.arrays(key), reference.arrays(key))
    np.testing.assert_array_equal(sequence.cam2world, reference.cam2world)


def test_a_done_run_answers_at_once_and_only_rewrites_outputs(
    oracle, photos, tmp_path, monkeypatch
):
    small = ReconstructSettings(
        model="oracle",
        device="cpu",
        batch_size=3,
        pairs="1",
        clip=ClipSettings(max_frames=2),
        formats=(),
    )
    reconstruct(str(photos), tmp_path, small)

    def forbidden(self, features_1, features_2):
        raise AssertionError("predicted again")

    monkeypatch.setattr(OraclePredictor, "predict", forbidden)
    reconstruct(str(photos), tmp_path, small)
    masks = ReconstructSettings(**{**vars(small), "formats": ("masks",)})
    reconstruct(str(photos), tmp_path, masks)
    assert (tmp_path / "masks" / "dynamic_000001.png").is_file()
    other = ReconstructSettings(**{**vars(small), "pairs": "complete"})
    with pytest.raises(UsageError, match="--overwrite"):
        reconstruct(str(photos), tmp_path, other)


def test_another_threshold_of_motion_holds_everywhere_and_can_be_taken_back(
    finished, photos, tmp_path, monkeypatch
):
    sequence, folder = finished
    shutil.copytree(folder, tmp_path / "run")
    clouds = replace(ORACLE, formats=("ply", "masks"))

    def at(threshold):
        again = replace(clouds, motion_threshold=threshold)
        found = reconstruct(str(photos), tmp_path / "run", again)
        manifest = read_manifest(tmp_path / "run")
        assert manifest is not None
        cloud = read_ply(tmp_path / "run" / "points" / "frame_000002.ply")
        mask = iio.imread(tmp_path / "run" / "masks" / "dynamic_000002.png")
        flow = found.frame(2).scene_flow_fwd
        assert flow is not None
        assert cloud.dynamic is not None
        point = np.argwhere(sequence.frame(2).dynamic > 0.9).mean(0)[::-1]
        path = track(found, 2, point[None]).points[:, 0]
        moves = (cloud.dynamic.any(), mask.any(), flow.any(), bool(np.ptp(path, axis=0).max() > 0))
        return moves, manifest["quality"]["moving_share"], flow

    usual, never, back = at(0.5), at(1.0), at(0.5)
    assert usual[0] == back[0] == (True,) * 4
    assert never[0] == (False,) * 4
    assert usual[1] == back[1] > 0 == never[1]
    np.testing.assert_array_equal(usual[2], back[2])


def test_one_frame_is_a_sequence_of_one(oracle, photos, tmp_path):
    settings = ReconstructSettings(
        model="oracle", device="cpu", clip=ClipSettings(max_frames=1), formats=()
    )
    sequence = reconstruct(str(photos), tmp_path, settings)
    assert len(sequence) == 1
    assert sequence.arrays("flow_fwd").shape == (0, *SIZE, 2)
    np.testing.assert_allclose(sequence.cam2world[0], np.eye(4), atol=1e-9)
    assert sequence.frame(0).valid.any()


def test_the_users_masks_are_the_motion(oracle, photos, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    marked = np.zeros(SIZE, np.uint8)
    marked[20:40, 30:60] = 255
    for t in range(FRAMES):
        iio.imwrite(folder / f"m{t}.png", marked)
    settings = ReconstructSettings(
        model="oracle",
        device="cpu",
        mask_dir=str(folder),
        clip=ClipSettings(max_frames=2),
        formats=(),
    )
    sequence = reconstruct(str(photos), tmp_path / "run", settings)
    np.testing.assert_array_equal(sequence.frame(1).dynamic > 0.5, marked > 0)
    flow = sequence.frame(0).scene_flow_fwd
    assert flow is not None
    assert not flow[marked == 0].any()


def test_the_alignments_grid_is_bounded_for_long_clips():
    assert grid_spacing((288, 512), 600) == 8
    for passes in (1_000, 40_000):
        spacing = grid_spacing((288, 512), passes)
        assert 2 * passes * (288 / spacing) * (512 / spacing) <= GRID_POINTS

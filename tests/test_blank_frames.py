"""Frames without a picture and repeated ones: the others come out as if they were not there."""

from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
from oracle import OraclePredictor
from pictures import Frames

from dpm_cli.config import ReconstructSettings
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.formats.ply import read_ply
from dpm_cli.passes.pictures import find_pictures
from dpm_cli.pipeline import reconstruct
from dpm_cli.predictors import LOADERS
from dpm_cli.workshop.synthetic import render_clip, scene_seed

SIZE = (64, 96)
SETTINGS = ReconstructSettings(model="oracle", device="cpu", pairs="1,2", formats=())


@pytest.fixture(scope="module")
def truth():
    return render_clip(scene_seed("test", 1), 6, SIZE, camera="orbit")


@pytest.fixture(scope="module")
def images(truth):
    return list(truth.images[0].permute(0, 2, 3, 1).numpy())


@pytest.fixture(scope="module")
def run(truth, tmp_path_factory):
    LOADERS["oracle"] = lambda weights, device, dtype: OraclePredictor(truth)
    parent = tmp_path_factory.mktemp("runs")

    def reconstructed(name, frames, settings=SETTINGS):
        folder = parent / name
        folder.mkdir()
        for t, image in enumerate(frames):
            iio.imwrite(folder / f"{t:03d}.png", image)
        return reconstruct(str(folder), parent / f"{name}_dpm", settings)

    yield reconstructed
    del LOADERS["oracle"]


@pytest.fixture(scope="module")
def clean(run, images):
    return run("clean", images)


@pytest.fixture(scope="module")
def broken(run, images):
    """Black, black, picture 0, 1, 2, white, 2 frozen with some noise of compression, 3, 4, 5."""
    black, white = np.zeros((*SIZE, 3), np.uint8), np.full((*SIZE, 3), 255, np.uint8)
    again = images[3].astype(np.int64)
    again[::7, ::5] += 2
    again = np.clip(again, 0, 255).astype(np.uint8)
    return run("broken", [black, black, *images[:3], white, images[3], again, *images[3:]])


def scaled(image, share, towards=0):
    return (image * share + towards * (1 - share)).astype(np.uint8)


def grain(level, seed=0):
    noise = np.random.default_rng(seed).normal(level, 2, (*SIZE, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def blank_of(frames):
    return np.flatnonzero(find_pictures(Frames(frames)).of_frame < 0).tolist()


@pytest.mark.parametrize("level", [0, 90, 255])
def test_frames_of_one_colour_show_nothing_with_noise_too(images, level):
    frames = [grain(level), *images[:3], grain(level, 1), grain(level, 2), *images[3:]]
    assert blank_of(frames) == [0, 4, 5]


@pytest.mark.parametrize("towards", [0, 255])
def test_fades_and_flashes_show_nothing_from_where_they_start(images, towards):
    shares = (0.0, 0.1, 0.3, 0.6, 1.0, 1.0, 1.0, 0.6, 0.3, 0.0)
    frames = [scaled(images[min(t, 5)], s, towards) for t, s in enumerate(shares)]
    assert blank_of(frames) == [0, 1, 2, 3, 7, 8, 9]
    flash = [*images[:3], scaled(images[3], 0.4, 255), *images[4:]]
    assert blank_of(flash) == [3]


def test_dark_and_plain_clips_keep_their_frames(images):
    assert blank_of([scaled(i, 0.15) for i in images]) == []
    ball = np.full((6, *SIZE, 3), 200, np.uint8)
    for t, frame in enumerate(ball):
        frame[20:36, 10 + 8 * t : 26 + 8 * t] = 60
    assert blank_of(list(ball)) == []
    assert find_pictures(Frames(list(ball))).of_frame.tolist() == list(range(6))


OF = [-1, -1, 0, 1, 2, -1, 3, 3, 3, 4, 5]
REAL = np.flatnonzero(np.array(OF) >= 0)


def test_cameras_and_depth_are_those_of_the_clip_without_the_blank_frames(broken, clean):
    of = [OF[t] for t in REAL]
    assert broken.camera_ok.tolist() == [n >= 0 for n in OF]
    np.testing.assert_array_equal(broken.cam2world[REAL], clean.cam2world[of])
    np.testing.assert_array_equal(broken.intrinsics[REAL], clean.intrinsics[of])
    np.testing.assert_array_equal(broken.cam2world[2], np.eye(4))
    for key in ("depth", "confidence", "dynamic", "valid"):
        np.testing.assert_array_equal(broken.arrays(key)[REAL], clean.arrays(key)[of])
        assert np.isfinite(broken.arrays(key)).all()
    halfway = broken.cam2world[5, :3, 3]
    np.testing.assert_allclose(halfway, clean.cam2world[2:4, :3, 3].mean(0), atol=1e-3)
    assert not broken.shot.any()
    for t in (0, 1, 5):
        assert not broken.frame(t).valid.any()
        assert not broken.frame(t).confidence.any()


def test_motion_leads_to_the_next_frame_not_to_the_next_picture(broken, clean):
    for key in ("flow_fwd", "scene_flow_fwd"):
        np.testing.assert_array_equal(broken.read(2, key), clean.read(0, key))
        np.testing.assert_array_equal(broken.read(8, key), clean.read(3, key))
        assert not broken.arrays(key)[6:8].any(), "repetitions do not move"
    assert broken.arrays("flow_fwd_valid")[6:8].all()
    assert not broken.read(7, "flow_bwd").any()
    np.testing.assert_array_equal(broken.read(9, "flow_bwd"), clean.read(4, "flow_bwd"))
    for t, key in ((1, "flow_fwd_valid"), (2, "flow_bwd_valid"), (4, "flow_fwd_valid")):
        assert not broken.read(t, key).any(), (t, key)


def test_clouds_and_manifest_tell_of_blank_frames(broken, tmp_path):
    options = ExportOptions(per_frame=False, min_confidence=0)
    export_sequence(broken, "colmap", tmp_path / "c", options)
    assert len(list((tmp_path / "c" / "images").iterdir())) == len(REAL)
    cloud = read_ply(export_sequence(broken, "ply", tmp_path / "s", options).path)
    assert len(cloud) > 1000
    assert cloud.colors.any(axis=1).mean() > 0.99
    manifest = broken.manifest
    assert [f["picture"] for f in manifest["frames"]] == [
        None, None, 2, 3, 4, None, 6, 6, 6, 9, 10
    ]  # fmt: skip
    assert any("frames 0-1, 5 show no picture" in note for note in manifest["notes"])
    assert any("frames 7-8 repeat" in note for note in manifest["notes"])


def test_a_clip_without_any_picture_is_a_result_that_says_so(run):
    every = replace(SETTINGS, formats=("ply", "flo", "masks", "preview"))
    sequence = run("black", [np.zeros((*SIZE, 3), np.uint8)] * 3, every)
    assert not sequence.camera_ok.any()
    assert not sequence.arrays("valid").any()
    notes = sequence.manifest["notes"]
    assert any("no frame of the clip shows a picture" in note for note in notes)

"""Numbers that go wrong: NaN and infinity never reach a file, and clips that say little get the honest result."""

import json
from dataclasses import replace

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch
from oracle import OraclePredictor

from dpm_cli.config import ReconstructSettings
from dpm_cli.matching.common import common_share
from dpm_cli.matching.measure import measure_flow
from dpm_cli.matching.picture import Picture
from dpm_cli.passes.finite import finite_prediction
from dpm_cli.passes.unmatched import UNMATCHED
from dpm_cli.pipeline import reconstruct
from dpm_cli.pipeline.align_run import _matched_notes
from dpm_cli.pipeline.quality import unexplained
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import read_manifest
from dpm_cli.structures import PairPrediction
from dpm_cli.workshop.synthetic import render_clip, scene_seed

FRAMES, SIZE = 3, (48, 64)


@pytest.fixture(scope="module")
def truth():
    return render_clip(scene_seed("test", 1), FRAMES, SIZE, camera="orbit")


def write_photos(folder, images):
    folder.mkdir()
    for t, image in enumerate(images):
        iio.imwrite(folder / f"{t:03d}.png", image)
    return folder


def pictures(truth):
    return list(truth.images[0].permute(0, 2, 3, 1).numpy())


def all_finite(sequence) -> bool:
    arrays = [sequence.cam2world, sequence.intrinsics, sequence.intrinsics_source]
    for t in range(len(sequence)):
        frame = sequence.frame(t)
        arrays += [v for v in vars(frame).values() if v is not None and v.dtype.kind == "f"]
        arrays.append(sequence.read(t, "points"))
    return all(np.isfinite(a).all() for a in arrays)


def manifest_of(folder) -> dict:
    manifest = read_manifest(folder)
    assert manifest is not None
    json.dumps(manifest, allow_nan=False)
    return manifest


def spoiled(truth, what: str, value: float, everywhere: bool) -> OraclePredictor:
    """The oracle with some numbers of one of its answers replaced."""

    class Spoiled(OraclePredictor):
        def predict(self, features_1, features_2):
            said = super().predict(features_1, features_2)
            if getattr(said, what) is None:  # the oracle's logits
                said = replace(said, **{what: torch.zeros_like(said.points[:, :, 0, ..., 0])})
            target = getattr(said, what)
            part = (
                target
                if everywhere
                else target[..., 8:20, 10:30, :]
                if what
                in (
                    "points",
                    "flow",
                )
                else target[..., 8:20, 10:30]
            )
            part[:] = value
            return said

    return Spoiled(truth)


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("points", float("nan")),
        ("points", 3e38),
        ("confidence", float("nan")),
        ("confidence", float("inf")),
        ("motion_logit", float("nan")),
        ("motion_logit", float("-inf")),
        ("valid_logit", float("nan")),
    ],
)
def test_what_is_no_number_is_not_valid_and_reaches_no_file(
    truth, tmp_path, monkeypatch, what, value, everywhere
):
    predictor = spoiled(truth, what, value, everywhere)
    monkeypatch.setitem(LOADERS, "oracle", lambda weights, device, dtype: predictor)
    photos = write_photos(tmp_path / "photos", pictures(truth))
    settings = ReconstructSettings(model="oracle", device="cpu", pairs="1", formats=())
    sequence = reconstruct(str(photos), tmp_path / "run", settings)
    assert all_finite(sequence)
    notes = manifest_of(tmp_path / "run")["notes"]
    assert any("NaN or infinity" in note for note in notes)
    valid = sequence.arrays("valid")
    assert not valid[:, 10:18, 13:27].any()
    assert valid.any() != everywhere


def test_numbers_that_are_all_finite_are_left_alone():
    ones = torch.ones(2, 2, 2, 3, 4)
    said = PairPrediction(points=torch.ones(2, 2, 2, 3, 4, 3), confidence=ones)
    cleaned, share = finite_prediction(said)
    assert cleaned is said
    np.testing.assert_array_equal(share, 0)
    ones[1, 0, 1, 2, 3] = torch.nan
    cleaned, share = finite_prediction(said)
    np.testing.assert_allclose(share, [0, 1 / 24], atol=1e-6)
    assert cleaned.points[1, 0, 1, 2, 3].isnan().all()
    assert int(cleaned.points.isnan().sum()) == 3
    assert float(cleaned.confidence.sum()) == 2 * 2 * 2 * 12 - 1


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def dull(images: list[np.ndarray], kind: str) -> list[np.ndarray]:
    """Clips of which little can be known."""
    first = images[0]
    return {
        "still": [
            np.clip(first.astype(int) + noise(t) % 5 - 2, 0, 255).astype(np.uint8)
            for t in range(FRAMES)
        ],
        "duplicates": [first] * FRAMES,
        "black": [np.zeros_like(first)] * FRAMES,
        "flat": [np.full_like(first, 90 + 3 * t) for t in range(FRAMES)],
        "all moving": [noise(t) for t in range(FRAMES)],
        "turning": [
            np.roll(np.tile(first, (1, 2, 1)), 4 * t, 1)[:, : SIZE[1]] for t in range(FRAMES)
        ],
        "one black": [first, np.zeros_like(first), *images[2:]],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("still", "stands still"),
        ("duplicates", "repeat the picture"),
        ("black", "no frame of the clip shows a picture"),
        ("flat", "no frame of the clip shows a picture"),
        ("all moving", "nothing in common"),
        ("turning", ""),
        ("one black", "frames 1 show no picture"),
    ],
)
def test_a_clip_that_says_little_is_finished_and_its_manifest_says_so(truth, tmp_path, kind, said):
    photos = write_photos(tmp_path / "photos", dull(pictures(truth), kind))
    settings = ReconstructSettings(model="geometric", device="cpu", formats=(), pairs="1")
    sequence = reconstruct(str(photos), tmp_path / "run", settings)
    manifest = manifest_of(tmp_path / "run")
    assert len(sequence) == FRAMES
    assert all_finite(sequence)
    assert manifest["notes"]
    assert any(said in note for note in manifest["notes"])


def test_pairs_that_share_hardly_anything_are_counted():
    weight = np.zeros((3, 2, 4, 5), np.float32)
    weight[0] = 0.5
    weight[1, :, :2, 0] = 1
    chunks = {"flow_weight": weight, "status": np.array(["ok", "ok", "ok"])}
    assert _matched_notes({k: v[:2] for k, v in chunks.items()}) == []
    (note,) = _matched_notes(chunks)
    assert note.startswith("in 1 of 3 pairs hardly anything")
    assert _matched_notes({**chunks, "status": np.array(["ok", "ok", UNMATCHED])}) == []


def blotches(seed: int, blur: float, size=SIZE) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(*size, 3)).astype(np.float32)
    values = cv2.GaussianBlur(values, (0, 0), blur)
    return np.clip(128 + 50 * values / values.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("make", [noise, lambda s: blotches(s, 1), lambda s: blotches(s, 4)])
def test_images_of_noise_have_nothing_in_common_and_shifted_ones_have_all(make):
    def share(first, second):
        flow = measure_flow(Picture(first), Picture(second))
        return common_share(np.stack((first, second)), np.stack(flow))

    assert share(make(1), make(2)) < 0.27
    whole = blotches(3, 4, (60, 80)).astype(np.float32) + 2 * np.random.default_rng(0).normal(
        size=(60, 80, 3)
    )
    whole = whole.clip(0, 255).astype(np.uint8)
    assert share(whole[:48, :64].copy(), whole[2:50, 3:67].copy()) > 0.9


def test_where_there_is_no_texture_nothing_contradicts_the_flow():
    flat = np.full((2, *SIZE, 3), 90, np.uint8)
    assert common_share(flat, np.full((2, *SIZE, 2), 7.0, np.float32)) == 1.0


@pytest.mark.parametrize("model", ["geometric", "dpm-mini"])
def test_of_frames_with_nothing_in_common_nothing_is_claimed(tmp_path, model):
    # Noise has the same colours in every frame, so these are no cuts.
    photos = write_photos(tmp_path / "photos", [noise(t) for t in range(FRAMES)])
    settings = ReconstructSettings(model=model, device="cpu", formats=(), pairs="1", prior="none")
    sequence = reconstruct(str(photos), tmp_path / "run", settings)
    notes = manifest_of(tmp_path / "run")["notes"]
    assert any("in 2 of 2 pairs the frames have nothing in common" in note for note in notes)
    assert any("cameras are unknown" in note for note in notes)
    assert sequence.camera_ok.tolist() == [True, False, False]
    np.testing.assert_array_equal(sequence.cam2world, np.tile(np.eye(4), (FRAMES, 1, 1)))
    assert sequence.arrays("confidence").max() <= 1
    assert not (sequence.arrays("dynamic") > 0.5).any()
    assert not sequence.arrays("flow_fwd_valid").any()


def test_mini_tells_a_still_camera_too(truth, tmp_path):
    photos = write_photos(tmp_path / "photos", dull(pictures(truth), "still"))
    settings = ReconstructSettings(model="dpm-mini", device="cpu", formats=(), pairs="1")
    reconstruct(str(photos), tmp_path / "run", settings)
    notes = manifest_of(tmp_path / "run")["notes"]
    assert any("the camera stands still" in note for note in notes)


def test_a_frame_that_stands_alone_is_not_called_a_still_camera(tmp_path):
    photos = write_photos(tmp_path / "photos", [blotches(1, 4)] * 2)
    settings = ReconstructSettings(model="geometric", device="cpu", formats=())
    reconstruct(str(photos), tmp_path / "run", settings)
    notes = manifest_of(tmp_path / "run")["notes"]
    assert any("1 frame stands alone" in note for note in notes)
    assert not any("does not move" in note for note in notes)


def test_motion_that_no_still_world_explains_is_said_and_a_still_camera_is_not_blamed():
    def of(missed: float, length: float, error: float) -> str | None:
        return unexplained({"still_residual_px": missed, "flow_px": length, "flow_error_px": error})

    assert of(0.9, 1.0, 0.8) is None, "a still camera's flow is its noise"
    assert of(0.3, 0.3, 0.0) is None, "the same picture with some noise"
    assert of(1.4, 6.0, 0.4) is None
    assert of(0.5, 6.0, 0.02) is None, "a small share of the motion"
    assert of(0.7, 2.2, 0.05) is not None, "exact flow of parts that slide each its own way"
    said = of(3.4, 6.0, 1.0)
    assert said is not None
    assert "motion of 6.0 px by 3.4 px" in said

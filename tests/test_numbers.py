"""Numbers that go wrong: NaN and infinity never reach a file, and clips that say little get the honest result."""

import json
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from oracle import OraclePredictor

from dpm_cli.config import ReconstructSettings
from dpm_cli.passes.finite import finite_prediction
from dpm_cli.pipeline import reconstruct
from dpm_cli.pipeline.align_run import _matched_notes
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
        ("all moving", "no parallax to rest on"),
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
    assert _matched_notes(weight[:2]) == []
    (note,) = _matched_notes(weight)
    assert note.startswith("in 1 of 3 pairs hardly anything")

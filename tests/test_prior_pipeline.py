"""Whole runs with a depth prior: metres, refusal of what is wrong, and going on after an interruption."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle_prior
import pytest
from oracle import OraclePredictor
from pictures import write_photos
from truth_arrays import sequence_arrays

from dpm_cli.config import ReconstructSettings
from dpm_cli.errors import InterruptedRunError, UsageError
from dpm_cli.focal import FocalEstimate
from dpm_cli.pair_flow import flow_of_pair
from dpm_cli.passes.fusion import AlignedPasses
from dpm_cli.passes.store import PassStore
from dpm_cli.pipeline import reconstruct
from dpm_cli.pipeline.align_run import AlignedRun
from dpm_cli.pipeline.prior_grid import without_odd_passes
from dpm_cli.predictors import LOADERS
from dpm_cli.prior.folder import FolderPrior
from dpm_cli.progress import SilentReporter
from dpm_cli.sequence import Sequence4D, read_manifest
from dpm_cli.structures import Cameras
from dpm_cli.workshop.synthetic import render_clip, scene_seed

FRAMES, SIZE = 4, (64, 96)
PLAIN = ReconstructSettings(
    model="oracle", device="cpu", batch_size=3, pairs="1,2", formats=(), prior="none"
)


def manifest_of(folder):
    manifest = read_manifest(folder)
    assert manifest is not None
    return manifest


@pytest.fixture(scope="module")
def truth():
    return render_clip(scene_seed("test", 1), FRAMES, SIZE, camera="orbit")


@pytest.fixture(scope="module")
def photos(truth, tmp_path_factory):
    return str(write_photos(tmp_path_factory.mktemp("photos"), truth))


@pytest.fixture(autouse=True)
def _oracle(truth, monkeypatch):
    monkeypatch.setitem(LOADERS, "oracle", lambda weights, device, dtype: OraclePredictor(truth))


@pytest.fixture(scope="module")
def exact(truth):
    depth = truth.depth[0].numpy()
    return np.where(depth > 0, depth, 0), truth.intrinsics[0, :, 0, 0].numpy()


@pytest.fixture
def maps(exact, tmp_path):
    """A folder of the true depth in metres, with a middling error."""
    depth, focal_px = exact
    inverse = oracle_prior.oracle(depth, 0.05, np.random.default_rng(0))
    oracle_prior.write_maps(tmp_path / "maps", inverse, depth == 0, focal_px)
    return replace(PLAIN, prior=str(tmp_path / "maps"), prior_kind="metric")


def test_a_metric_prior_makes_the_whole_run_metric(truth, photos, maps, tmp_path):
    sequence = reconstruct(photos, tmp_path / "run", maps)
    reference = Sequence4D.from_arrays(sequence_arrays(truth))
    valid = reference.arrays("valid") & sequence.arrays("valid")
    scale = np.median((sequence.arrays("depth") / reference.arrays("depth"))[valid])
    assert scale == pytest.approx(1, abs=0.06)
    path, true_path = (
        np.linalg.norm(s.cam2world[-1, :3, 3] - s.cam2world[0, :3, 3])
        for s in (sequence, reference)
    )
    assert path / true_path == pytest.approx(scale, rel=2e-3)
    assert sequence.header.scale == "metric"
    manifest = manifest_of(tmp_path / "run")
    assert manifest["scale"]["status"] == "metric"
    assert "from the depth in" in manifest["scale"]["source"]
    assert manifest["prior"]["name"] == maps.prior
    assert any("depth also from" in note for note in manifest["notes"])


def test_relative_depth_leaves_the_scale_as_it_was(photos, maps, tmp_path):
    reconstruct(photos, tmp_path / "run", replace(maps, prior_kind="depth"))
    assert manifest_of(tmp_path / "run")["scale"]["status"] == "arbitrary"


class Asking(OraclePredictor):
    """Does not know the focal length that its maps have, and remembers what it was told."""

    def prepare(self, clip, intrinsics):
        super().prepare(clip, intrinsics)
        if intrinsics is not None:
            self.told_px.append(intrinsics[0, 0])
            return None
        return FocalEstimate(90.0, 0.3, "assumed")

    def __init__(self, truth):
        super().__init__(truth)
        self.told_px = []


@pytest.mark.parametrize("right", [True, False])
def test_a_prior_tells_the_focal_length_unless_it_is_refused(
    truth, exact, photos, tmp_path, monkeypatch, right
):
    predictor = Asking(truth)
    monkeypatch.setitem(LOADERS, "oracle", lambda weights, device, dtype: predictor)
    depth, focal_px = exact
    inverse = 1 / np.where(depth > 0, depth, depth.max())
    if not right:
        inverse = oracle_prior.wrong("inverted", inverse, inverse)
    oracle_prior.write_maps(tmp_path / "maps", inverse, np.zeros(depth.shape, bool), focal_px)
    settings = replace(PLAIN, prior=str(tmp_path / "maps"))
    reconstruct(photos, tmp_path / "run", settings)
    assert predictor.told_px == pytest.approx([focal_px[0]], rel=0.05)
    manifest = manifest_of(tmp_path / "run")
    assert manifest["prior"].get("refused", False) is not right
    assert any("and the clip" in note for note in manifest["notes"]) is right


@pytest.mark.parametrize("kind", oracle_prior.WRONG)
def test_a_wrong_prior_changes_nothing_but_the_notes(exact, photos, tmp_path, kind):
    depth, focal_px = exact
    inverse = 1 / np.where(depth > 0, depth, depth.max())
    spoilt = oracle_prior.wrong(kind, inverse, inverse[:, ::-1, ::-1])
    oracle_prior.write_maps(tmp_path / "maps", spoilt, np.zeros(depth.shape, bool), 1.3 * focal_px)
    settings = replace(PLAIN, prior=str(tmp_path / "maps"), prior_kind="metric")
    found = reconstruct(photos, tmp_path / "run", settings)
    plain = reconstruct(photos, tmp_path / "plain", PLAIN)
    for key in ("depth", "valid", "confidence", "scene_flow_fwd"):
        np.testing.assert_array_equal(found.arrays(key), plain.arrays(key))
    np.testing.assert_array_equal(found.cam2world, plain.cam2world)
    manifest = manifest_of(tmp_path / "run")
    assert manifest["scale"]["status"] == "arbitrary"
    assert any("contradicts what parallax knows" in note for note in manifest["notes"])


def test_an_interrupted_run_goes_on_with_the_same_prior_and_gives_the_same(
    photos, maps, tmp_path, monkeypatch
):
    whole = reconstruct(photos, tmp_path / "whole", maps)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["dpm_cli.pipeline.aligned_clip"], "align_run", interrupt)
        with pytest.raises(InterruptedRunError):
            reconstruct(photos, tmp_path / "run", maps)
    monkeypatch.setattr(FolderPrior, "estimate", interrupt)  # all is on disk already
    resumed = reconstruct(photos, tmp_path / "run", maps)
    np.testing.assert_array_equal(resumed.arrays("depth"), whole.arrays("depth"))
    with pytest.raises(UsageError, match="other settings"):
        reconstruct(photos, tmp_path / "run", replace(maps, prior_kind="depth"))


def test_a_prior_that_is_not_there_is_said_before_anything_is_written(photos, tmp_path):
    with pytest.raises(UsageError, match="--prior nowhere: give auto, none"):
        reconstruct(photos, tmp_path / "run", replace(PLAIN, prior="nowhere"))
    assert not (tmp_path / "run").exists()


def test_two_images_take_a_prior_too(exact, photos, tmp_path):
    depth, focal_px = exact
    inverse = 1 / np.where(depth > 0, depth, np.inf)
    oracle_prior.write_maps(tmp_path / "maps", inverse[:2], depth[:2] == 0, focal_px[:2])
    settings = replace(
        PLAIN, prior=str(tmp_path / "maps"), prior_kind="metric", formats=("flo", "preview")
    )
    images = [Path(photos) / f"{t:03d}.png" for t in range(2)]
    flow_of_pair(
        images[0],
        images[1],
        tmp_path / "pair",
        settings,
        overwrite=False,
        reporter=SilentReporter(),
    )
    with np.load(tmp_path / "pair" / "flow.npz") as found:
        assert str(found["scale"]) == "metric"
        known = found["valid"][0] & (depth[0] > 0)
        assert np.median(found["depth"][0][known] / depth[0][known]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("status", "kept"), [("oosss", "sss"), ("oooss", "oooss"), ("ooo", "ooo")])
def test_parallax_that_few_passes_see_is_not_believed(tmp_path, status, kept):
    count = len(status)
    cameras = Cameras(
        np.tile(np.eye(4), (count, 1, 1)), np.tile(np.eye(3), (count, 1, 1)), np.ones(count, bool)
    )
    passes = AlignedPasses(
        PassStore(tmp_path),
        np.array([(0, 1)] * count),
        np.zeros((count, 2)),
        np.ones(count, bool),
        cameras,
    )
    run = AlignedRun(passes, np.zeros(count, np.int64), FocalEstimate(1.0, 0.0, "given"), ())
    words = np.array(["ok" if s == "o" else "still" for s in status])
    left = words[without_odd_passes(run, words).passes.usable]
    assert "".join(w[0] for w in left) == kept

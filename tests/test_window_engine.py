from typing import Any, ClassVar

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from oracle import OraclePredictor
from truth_arrays import sequence_arrays
from video_files import Notes

from dpm_cli.config import ReconstructSettings
from dpm_cli.errors import UsageError
from dpm_cli.passes.windows import plan_windows, predict_windows, window_graph, window_size
from dpm_cli.pipeline import reconstruct
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import Sequence4D, read_manifest
from dpm_cli.structures import Clip, WindowPrediction
from dpm_cli.workshop.synthetic import render_clip, scene_seed

FRAMES, SIZE = 7, (24, 32)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def truth():
    return render_clip(scene_seed("test", 5), FRAMES, SIZE, camera="dolly")


class Reader:
    def __init__(self, truth):
        self.images = truth.images[0].permute(0, 2, 3, 1).numpy()

    def __len__(self):
        return FRAMES

    def read(self, indices):
        return self.images[list(indices)]


class WindowOracle(OraclePredictor):
    """Knows a window's points at every time, in a scale that differs from window to window."""

    def predict_window(self, features):
        frames = features["frame"].tolist()
        source: Any = self.truth
        world = torch.stack([torch.stack([source.points(s, t)[0] for s in frames]) for t in frames])
        cameras = source.cam2world[0, frames].double()
        inverse = torch.linalg.inv(cameras[0])
        local = (world.double() @ inverse[:3, :3].T + inverse[:3, 3]) * self.scale_of(frames[0])
        cam2world = inverse @ cameras
        cam2world[:, :3, 3] *= self.scale_of(frames[0])
        exact = torch.full(world.shape[:-1], 1e3)
        return WindowPrediction(local.float(), exact, cam2world, source.intrinsics[0, frames])

    @staticmethod
    def scale_of(first):
        return 1.0 + 0.4 * first


def prepared(truth):
    """The oracle after it has seen the clip."""
    clip = Clip(
        name="clip",
        frames=Reader(truth),
        size=SIZE,
        source_size=SIZE,
        source_from_working=np.eye(3),
        frame_index=np.arange(FRAMES),
        timestamps=np.arange(FRAMES) / 25,
        source="",
        fingerprint="",
    )
    oracle = WindowOracle(truth)
    oracle.prepare(clip, None)
    return oracle


def test_pairs_of_a_window_are_the_pairs(truth):
    graph = window_graph(np.zeros(FRAMES, int), FRAMES)
    chunks = list(predict_windows(Reader(truth), graph, prepared(truth), device=CPU, batch_size=4))
    assert [c.start for c in chunks] == list(range(0, len(graph.pairs), 4))
    assert [c.stop for c in chunks[:-1]] == [c.start for c in chunks[1:]]
    points = torch.cat([c.prediction.points for c in chunks])
    for row, (i, j) in enumerate(graph.pairs):
        exact = truth.pair(int(i), int(j))
        valid = exact.valid[0]
        assert torch.allclose(points[row][valid], exact.points[0][valid], atol=1e-4)


def test_windows_cover_the_clip_overlap_and_stay_inside_shots():
    shot = np.array([0] * 11 + [1] * 3)
    graph = window_graph(shot, 5)
    assert {f for w in graph.windows for f in w.frames} == set(range(14))
    assert all(len({int(shot[f]) for f in w.frames}) == 1 for w in graph.windows)
    for before, after in zip(graph.windows[:-1], graph.windows[1:], strict=True):
        assert before.stop == after.start
        if shot[before.frames.start] == shot[after.frames.start]:
            assert set(before.frames) & set(after.frames)
    for window in graph.windows:
        rows = graph.pairs[window.start : window.stop]
        assert rows.min() >= window.frames.start
        assert rows.max() < window.frames.stop


def test_what_is_finished_of_the_windows_is_skipped(truth):
    graph = window_graph(np.zeros(FRAMES, int), 4)
    first, second = graph.windows[:2]
    done = [(first.start, first.stop), (second.start, second.start + 2)]
    oracle = prepared(truth)
    chunks = predict_windows(Reader(truth), graph, oracle, device=CPU, batch_size=2, done=done)
    assert next(chunks).start == second.start + 2


@pytest.mark.parametrize(
    ("text", "size"), [("window:8", 8), ("window", 24), ("auto", None), ("1,2", None)]
)
def test_the_option(text, size):
    assert window_size(text) == size


def test_wrong_windows_and_predictors_are_usage_errors(truth):
    for text in ("window:1", "window:x"):
        with pytest.raises(UsageError, match="--pairs"):
            window_size(text)
    graph = window_graph(np.zeros(3, int), 3)
    with pytest.raises(UsageError, match="vdpm"):
        list(
            predict_windows(Reader(truth), graph, OraclePredictor(truth), device=CPU, batch_size=1)
        )


def test_windows_of_other_scales_become_one_world(truth, tmp_path, monkeypatch):
    monkeypatch.setitem(LOADERS, "window", lambda weights, device, dtype: WindowOracle(truth))
    (tmp_path / "clip").mkdir()
    for t, image in enumerate(Reader(truth).images):
        iio.imwrite(tmp_path / "clip" / f"{t}.png", image)
    settings = ReconstructSettings(model="window", device="cpu", pairs="window:4", formats=())
    sequence = reconstruct(str(tmp_path / "clip"), tmp_path / "run", settings)
    reference = Sequence4D.from_arrays(sequence_arrays(truth))
    valid = reference.arrays("valid")
    ratio = (sequence.arrays("depth") / np.where(valid, reference.arrays("depth"), 1))[valid]
    assert np.abs(ratio / np.median(ratio) - 1).max() < 5e-3
    path = np.linalg.norm(reference.cam2world[:, :3, 3], axis=1).max()
    np.testing.assert_allclose(
        sequence.cam2world[:, :3, 3] / np.median(ratio),
        reference.cam2world[:, :3, 3],
        atol=0.01 * path,
    )


class CrampedWindows(WindowOracle):
    """Has no room for more than two frames at once."""

    asked: ClassVar[list[int]] = []

    def predict_window(self, features):
        frames = len(features["frame"])
        self.asked.append(frames)
        if frames > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().predict_window(features)


@pytest.mark.parametrize("pairs", ["window", "window:6"])
def test_windows_get_smaller_when_memory_ends_and_that_is_said(truth, tmp_path, monkeypatch, pairs):
    monkeypatch.setitem(LOADERS, "window", lambda weights, device, dtype: CrampedWindows(truth))
    monkeypatch.setattr(CrampedWindows, "asked", [])
    (tmp_path / "clip").mkdir()
    for t, image in enumerate(Reader(truth).images):
        iio.imwrite(tmp_path / "clip" / f"{t}.png", image)
    settings = ReconstructSettings(
        model="window", device="cpu", pairs=pairs, formats=(), prior="none", batch_size=2
    )
    heard = Notes()
    sequence = reconstruct(str(tmp_path / "clip"), tmp_path / "run", settings, reporter=heard)
    assert sequence.camera_ok.all()
    halves = [n.rsplit(" ", 2)[-2] for n in heard.lines if "going on with windows of" in n]
    assert halves == (["12", "6", "3", "2"] if pairs == "window" else ["3", "2"])
    assert CrampedWindows.asked[-6:] == [2] * 6, "seven frames, overlapping by one"
    manifest = read_manifest(tmp_path / "run")
    assert manifest is not None
    assert manifest["window"] == 2
    assert manifest["pairs"] == 6


def test_windows_of_a_clip_cover_it_and_are_full():
    for frames in range(1, 60):
        spans = plan_windows(frames, 10, 3)
        assert sorted({f for span in spans for f in span}) == list(range(frames))
        assert all(len(span) == min(10, frames) for span in spans)
    with pytest.raises(UsageError, match="overlap by 10"):
        plan_windows(30, 10, 10)

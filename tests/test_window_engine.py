import numpy as np
import pytest
import torch

from dpm_cli.errors import UsageError
from dpm_cli.predictors.oracle import OraclePredictor
from dpm_cli.structures import WindowPrediction
from dpm_cli.synthetic import render_clip, scene_seed
from dpm_cli.window_engine import predict_windows, window_graph, window_size

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


class WindowOracle:
    """Knows a window's points at every time; features carry the frame numbers."""

    info = OraclePredictor.info

    def __init__(self, truth):
        self.truth = truth

    def encode(self, images):
        return {"count": torch.zeros(len(images))}

    def at(self, first):
        self.first = first
        return self

    def predict_window(self, features):
        span = range(self.first, self.first + len(features["count"]))
        world = torch.stack([torch.stack([self.truth.points(s, t)[0] for s in span]) for t in span])
        cameras = self.truth.cam2world[0, span.start : span.stop].double()
        inverse = torch.linalg.inv(cameras[0])
        local = world.double() @ inverse[:3, :3].T + inverse[:3, 3]
        return WindowPrediction(
            local.float(), torch.ones(world.shape[:-1]), inverse @ cameras, self.truth.intrinsics[0]
        )


def test_pairs_of_a_window_are_the_pairs(truth):
    graph = window_graph(np.zeros(FRAMES, int), FRAMES)
    oracle = WindowOracle(truth).at(0)
    (chunk,) = predict_windows(Reader(truth), graph, oracle, device=CPU)  # type: ignore[arg-type]
    for row, (i, j) in enumerate(graph.pairs):
        exact = truth.pair(int(i), int(j))
        valid = exact.valid[0]
        assert torch.allclose(
            chunk.prediction.points[row][valid], exact.points[0][valid], atol=1e-4
        )


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


def test_a_finished_window_is_skipped(truth):
    graph = window_graph(np.zeros(FRAMES, int), 4)
    done = [(graph.windows[0].start, graph.windows[0].stop)]
    oracle = WindowOracle(truth).at(graph.windows[1].frames.start)
    chunks = predict_windows(Reader(truth), graph, oracle, device=CPU, done=done)  # type: ignore[arg-type]
    assert next(chunks).start == graph.windows[1].start


@pytest.mark.parametrize(("text", "size"), [("window:8", 8), ("auto", None), ("1,2", None)])
def test_the_option(text, size):
    assert window_size(text) == size


def test_wrong_windows_and_predictors_are_usage_errors(truth):
    for text in ("window:1", "window:x"):
        with pytest.raises(UsageError, match="--pairs"):
            window_size(text)
    graph = window_graph(np.zeros(3, int), 3)
    with pytest.raises(UsageError, match="vdpm"):
        list(predict_windows(Reader(truth), graph, OraclePredictor(truth), device=CPU))

"""The benchmark: both ways give the same answers, and ours does less; how much faster that is, no test can say."""

import json

import numpy as np
import pytest
import torch
from network_helpers import tiny_pair
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.passes.pairs import pair_graph
from dpm_cli.predictors.large import LargePredictor
from dpm_cli.predictors.protocol import PredictorInfo
from dpm_cli.progress import SilentReporter
from dpm_cli.workshop.benchmark import random_images, run_benchmark
from dpm_cli.workshop.network_cost import matmul_peak, network_cost
from dpm_cli.workshop.published_aligner import STEPS, PublishedAligner, seconds_a_step

CPU = torch.device("cpu")


class Counting(LargePredictor):
    """Counts what it is asked for."""

    frames = pairs = 0

    def encode(self, images):
        self.frames += len(images)
        return super().encode(images)

    def predict(self, features_1, features_2):
        self.pairs += len(features_1["tokens"])
        return super().predict(features_1, features_2)


def test_the_published_way_is_run_as_published_and_answers_agree():
    info = PredictorInfo("tiny", None, "none", 16, 64)
    predictor = Counting(tiny_pair(), info, CPU, torch.float32)
    pairs = torch.from_numpy(pair_graph(np.zeros(4, np.int64), "1,2"))
    result = run_benchmark(
        predictor,
        predictor,
        random_images(4, (32, 48), CPU),
        pairs,
        batch_size=2,
        reporter=SilentReporter(),
    )
    assert len(pairs) == result.pairs == 5
    warm_frames, warm_pairs = 2 + 4, 1 + 1
    counted_frames, counted_pairs = 3, 2 * 2
    assert predictor.frames == warm_frames + 2 * 10 + 4 + 4 + counted_frames
    assert predictor.pairs == warm_pairs + 10 + 5 + 10 + counted_pairs
    assert result.largest_difference < 1e-5
    assert result.ratio == pytest.approx(result.published_s / result.ours_s)


class Products:
    """A matrix product a frame, an attention a pair."""

    def encode(self, images):
        return {
            "x": images.flatten(1) @ torch.ones(24, 5)
        }  # 2 * 24 * 5 operations, 4 * (24 + 120 + 5) bytes

    def predict(self, features_1, features_2):
        q, k = (f["x"].unflatten(1, (5, 1)) for f in (features_1, features_2))
        return torch.nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], k[:, None])


def test_operations_and_bytes_by_hand():
    with torch.inference_mode():
        cost = network_cost(Products(), torch.rand(7, 3, 2, 4), pairs=6, batch_size=2)  # pyright: ignore
    attention = 2 * 2 * 5 * 5  # scores and sums of 5 tokens of one number
    assert cost.operations == 7 * 240 + 6 * attention
    ones, frame = 120 * 4, (24 + 120 + 5) * 4
    assert cost.bytes >= 7 * (ones + frame)
    assert matmul_peak(CPU, torch.float32) > 1e8


def test_command():
    words = ["benchmark", "--frames", "3", "--size", "64x48", "--device", "cpu", "--json", "-q"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["networks"]["pairs"] == result["clip"]["pairs"] == 3
    assert result["network_speedup"] > 0
    assert 0 < result["share_of_peak"] < 1
    clip = result["clip"]
    assert result["alignment_speedup"] == clip["published_align_s"] / clip["align_s"]
    assert result["end_to_end_s"] > clip["align_s"] > 0
    wrong = CliRunner().invoke(app, ["benchmark", "--model", "nothing"])
    assert "choose random" in str(wrong.exception)


def test_the_published_alignment_finds_what_its_pairs_agree_on():
    """Two images of one slanted plane and a pair each way: after its steps the cost is next to nothing."""
    pixels = pixel_grid(6, 8) - torch.tensor((3.5, 2.5))
    depth = 2 + pixels[..., :1] / 4
    plane = depth * torch.cat((pixels / 8, torch.ones(6, 8, 1)), -1)
    points = plane.expand(2, 2, 6, 8, 3)
    aligner = PublishedAligner(torch.tensor([[0, 1], [1, 0]]), points, torch.ones(2, 2, 6, 8))
    before = float(aligner().detach())
    seconds_a_step(aligner, STEPS)
    assert float(aligner().detach()) < 0.05 * before


def test_speed_of_rendering():
    arguments = ["benchmark", "--what", "synth", "--size", "32x24", "--batch-size", "2"]
    done = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--json", "-q"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["pairs_per_second"] > 0
    assert result["compiled_pairs_per_second"] is None
    assert result["eager_bytes_per_pixel"] > 2 * result["fused_bytes_per_pixel"] > 0
    wrong = CliRunner().invoke(app, ["benchmark", "--what", "nothing"])
    assert "choose all, networks, clip or synth" in str(wrong.exception)

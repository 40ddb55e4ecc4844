from typing import Any

import numpy as np
import pytest
import torch
from video_files import Notes

from dpm_cli.errors import MemoryExhaustedError
from dpm_cli.passes.engine import predict_pairs
from dpm_cli.structures import PairPrediction

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


class Frames:
    """Frame t is an image whose every value is t."""

    def __len__(self):
        return 12

    def read(self, indices):
        return np.stack([np.full((4, 6, 3), i, np.uint8) for i in indices])


class Counting:
    """A predictor that remembers what it was asked and can run out of memory above a batch."""

    def __init__(self, limit=99):
        self.encoded, self.limit, self.batches = [], limit, []

    info: Any = None

    def prepare(self, clip, intrinsics):
        pass

    def encode(self, images):
        ids = (images[:, 0, 0, 0] * 255).round()
        self.encoded += ids.int().tolist()
        return {"id": ids}

    def predict(self, features_1, features_2):
        a, b = features_1["id"], features_2["id"]
        if len(a) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        self.batches.append(len(a))
        points = (a * 100 + b)[:, None, None, None, None, None].expand(-1, 2, 2, 4, 6, 3)
        return PairPrediction(points, points[..., 0])


PAIRS = np.array([(i, i + s) for i in range(8) for s in (1, 2, 4)])


def answers(chunks):
    return {
        (c.start + r): c.prediction.points[r, 0, 0, 0, 0, 0].item()
        for c in chunks
        for r in range(c.stop - c.start)
    }


def test_each_frame_is_encoded_once_and_answers_are_in_place():
    predictor = Counting()
    got = answers(predict_pairs(Frames(), PAIRS, predictor, batch_size=5, **CPU))
    assert got == {e: i * 100.0 + j for e, (i, j) in enumerate(PAIRS)}
    assert sorted(predictor.encoded) == list(range(12))


def test_batch_size_does_not_change_answers():
    one = answers(predict_pairs(Frames(), PAIRS, Counting(), batch_size=1, **CPU))
    many = answers(predict_pairs(Frames(), PAIRS, Counting(), batch_size=24, **CPU))
    assert one == many


def test_out_of_memory_halves_the_batch_and_loses_nothing():
    predictor, heard = Counting(limit=3), Notes()
    got = answers(predict_pairs(Frames(), PAIRS, predictor, batch_size=8, reporter=heard, **CPU))
    assert len(got) == len(PAIRS)
    assert max(predictor.batches) <= 3
    assert heard.lines == [f"out of memory: going on with {n} pairs at a time" for n in (4, 2)]


def test_out_of_memory_for_one_pair_is_exit_code_5():
    with pytest.raises(MemoryExhaustedError, match="--size"):
        list(predict_pairs(Frames(), PAIRS, Counting(limit=0), batch_size=2, **CPU))


def test_done_rows_are_skipped():
    chunks = list(
        predict_pairs(Frames(), PAIRS, Counting(), batch_size=4, done=[(0, 4), (8, 12)], **CPU)
    )
    assert [(c.start, c.stop) for c in chunks] == [(4, 8), (12, 16), (16, 20), (20, 24)]

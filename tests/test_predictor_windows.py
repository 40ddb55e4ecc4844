"""Windows of a long clip, joined by similarities that are known."""

import itertools

import pytest
import torch

from dpm_cli.errors import UsageError
from dpm_cli.geometry.rigid import rigid, so3_exp, transform_map
from dpm_cli.geometry.similarity import invert_similarity, similarity
from dpm_cli.predictors.vdpm_windows import join_windows, joined_cameras, plan_windows
from dpm_cli.structures import WindowPrediction

FRAMES, HEIGHT, WIDTH = 11, 48, 64


def test_windows_cover_every_frame_and_overlap():
    for frames in range(1, 60):
        spans = plan_windows(frames, 10, 3)
        assert sorted({f for span in spans for f in span}) == list(range(frames))
        assert all(len(span) == min(10, frames) for span in spans)
        overlaps = [len(set(a) & set(b)) for a, b in itertools.pairwise(spans)]
        assert all(3 <= overlap < 10 for overlap in overlaps)
    with pytest.raises(UsageError, match="overlap by 10"):
        plan_windows(30, 10, 10)


@pytest.fixture
def world():
    """Points of every frame in the clip's world, cameras, and the windows' own frames and scales."""
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(FRAMES, HEIGHT, WIDTH, 3, generator=generator, dtype=torch.float64)
    turns = torch.randn(FRAMES, 3, generator=generator, dtype=torch.float64) * 0.2
    moves = torch.randn(FRAMES, 3, generator=generator, dtype=torch.float64)
    cameras = rigid(so3_exp(turns), moves)
    cameras[0] = torch.eye(4)
    return points, cameras


def windows_of(world, spans, noise=0.0, outliers=0.0):
    points, cameras = world
    generator = torch.Generator().manual_seed(5)
    out = []
    for number, span in enumerate(spans):
        scale = scale_of_window(number)
        # A window's world is its first camera, at a scale of its own.
        S = similarity(scale, *split(cameras[span.start]))
        back = invert_similarity(S)
        local = transform_map(back, points[span.start : span.stop])
        local = local + noise * torch.randn(local.shape, generator=generator, dtype=torch.float64)
        wrong = torch.rand(local.shape[:-1], generator=generator) < outliers
        local[wrong] += 3
        local_cameras = back @ cameras[span.start : span.stop]
        local_cameras[:, :3, :3] *= scale
        confidence = torch.ones(1, *local.shape[:-1])
        out.append(WindowPrediction(local[None].float(), confidence, local_cameras, torch.eye(3)))
    return out


def scale_of_window(number):
    return torch.tensor(1.0 if number == 0 else 0.5 + 0.7 * number, dtype=torch.float64)


def split(camera):
    return camera[:3, :3], camera[:3, 3]


@pytest.mark.parametrize(
    ("noise", "outliers", "tolerance"), [(0.0, 0.0, 1e-5), (0.02, 0.0, 1e-2), (0.0, 0.15, 1e-3)]
)
def test_windows_of_other_scales_join_to_one_world(world, noise, outliers, tolerance):
    spans = plan_windows(FRAMES, 5, 2)
    assert len(spans) == 3
    windows = windows_of(world, spans, noise, outliers)
    joined = join_windows(spans, windows)
    for number, (S, span) in enumerate(zip(joined, spans, strict=True)):
        truth = similarity(scale_of_window(number), *split(world[1][span.start]))
        assert (S - truth).abs().max() < 3 * tolerance
    cameras = joined_cameras(spans, windows, joined)
    assert cameras.shape == (FRAMES, 4, 4)
    assert (cameras - world[1]).abs().max() < 3 * tolerance

"""Training batches: augmented truth stays exact, a step draws the same pairs whoever asks."""

from dataclasses import fields, replace

import pytest
import torch
from toy_pairs import toy_pairs

from dpm_cli.geometry.camera import pixel_grid, project_map
from dpm_cli.geometry.rigid import transform_map
from dpm_cli.structures import PairTruth
from dpm_cli.workshop.datasets.training_crop import crop_resize
from dpm_cli.workshop.train.augment import augment, mirror, photometric, swap
from dpm_cli.workshop.train.batches import (
    better_flow,
    cat_truth,
    draw_batch,
    measured_flow,
    prefetch,
)
from dpm_cli.workshop.train.settings import TrainingStage, TrainSettings

ALL, NONE = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)


@pytest.fixture(scope="module")
def truth() -> PairTruth:
    return toy_pairs(3, (48, 64), torch.Generator().manual_seed(5))


class ToySource:
    """Toy pairs at a fixed size; counts what it is asked for."""

    def __init__(self):
        self.calls = 0

    def draw(self, batch, size, generator):
        self.calls += 1
        return toy_pairs(batch, (48, 64), generator)


def law_error_px(truth: PairTruth) -> float:
    """Largest distance between the flow and the projection of the points, and of own points and own pixels."""
    height, width = truth.images.shape[-2:]
    grid = pixel_grid(height, width)
    T, K = truth.cam2_from_cam1, truth.intrinsics
    later = transform_map(T, truth.points[:, 0, 1])
    own2 = transform_map(T, truth.points[:, 1, 1])
    errors = (
        project_map(truth.points[:, 0, 0], K[:, 0]) - grid,
        project_map(own2, K[:, 1]) - grid,
        project_map(later, K[:, 1]) - grid - truth.flow[:, 0],
        project_map(truth.points[:, 1, 0], K[:, 0]) - grid - truth.flow[:, 1],
    )
    return max(e.abs().max().item() for e in errors)


@pytest.mark.parametrize("change", [swap, mirror])
def test_swapped_and_mirrored_pairs_obey_the_laws(truth, change):
    changed = change(truth, ALL)
    assert law_error_px(truth) < 1e-3
    assert law_error_px(changed) < 2e-3
    again = change(changed, ALL)
    for field in fields(PairTruth):
        a, b = getattr(truth, field.name), getattr(again, field.name)
        assert torch.allclose(a.float(), b.float(), atol=1e-4), field.name
    untouched = change(truth, NONE)
    assert torch.equal(untouched.points, truth.points)


def test_swap_reverses_time(truth):
    changed = swap(truth, ALL)
    assert torch.equal(changed.images[:, 0], truth.images[:, 1])
    own = transform_map(truth.cam2_from_cam1, truth.points[:, 1, 1])
    assert torch.allclose(changed.points[:, 0, 0], own, atol=1e-5)


def test_a_plain_crop_is_exact_and_a_smaller_one_within_half_a_pixel(truth):
    crop = crop_resize(truth, (48, 32))
    assert crop.images.shape == (3, 2, 3, 48, 32)
    assert torch.equal(crop.images, truth.images[..., 16:48])
    assert law_error_px(crop) < 1e-3
    small = crop_resize(truth, (32, 32))
    assert small.points.shape == (3, 2, 2, 32, 32, 3)
    assert law_error_px(small) < 1.0
    assert small.intrinsics[0, 0, 0, 0] == pytest.approx(
        truth.intrinsics[0, 0, 0, 0].item() * 2 / 3
    )


def test_light_changes_leave_geometry_alone_and_stay_in_range(truth):
    images = photometric(truth.images, torch.Generator().manual_seed(0))
    assert images.min() >= 0
    assert images.max() <= 1
    assert (images - truth.images).abs().mean() > 0.01
    full = augment(truth, (48, 64), torch.Generator().manual_seed(0))
    assert law_error_px(full) < 2e-3


SETTINGS = TrainSettings(steps=10, stages=(TrainingStage(0.0, ((32, 48), (48, 32)), 4),), shards=2)


def test_a_step_is_the_same_alone_and_shared():
    whole = draw_batch(ToySource(), SETTINGS, 3, 0.3)
    parts = [draw_batch(ToySource(), SETTINGS, 3, 0.3, rank, 2) for rank in (0, 1)]
    joined = cat_truth([p.truth for p in parts])
    assert torch.equal(whole.truth.images, joined.images)
    assert torch.equal(whole.flow, torch.cat([p.flow for p in parts]))
    assert torch.equal(whole.focal_px, torch.cat([p.focal_px for p in parts]))
    other = draw_batch(ToySource(), SETTINGS, 4, 0.4)
    shapes_differ = other.truth.images.shape != whole.truth.images.shape
    assert shapes_differ or not torch.equal(other.truth.images, whole.truth.images)


def test_prefetch_goes_on_where_it_is_told():
    def first(start: int):
        batches = prefetch(ToySource(), SETTINGS, start, lambda: 0.0, ahead=2)
        steps = [next(batches) for _ in range(2)]
        batches.close()
        return steps

    early, late = first(0), first(1)
    assert [s for s, _, _ in early] == [0, 1]
    assert early[1][1] == late[0][1] == 0.1
    assert torch.equal(early[1][2].truth.images, late[0][2].truth.images)


def test_focal_is_told_at_the_share_asked_for():
    none = draw_batch(ToySource(), replace(SETTINGS, known_focal=0.0), 0, 0.0)
    every = draw_batch(ToySource(), replace(SETTINGS, known_focal=1.0), 0, 0.0)
    assert (none.focal_px == 0).all()
    K = every.truth.intrinsics[:, 0]
    assert torch.allclose(every.focal_px, (K[:, 0, 0] * K[:, 1, 1]).sqrt())


def test_measured_flow_is_near_the_truth_where_seen(truth):
    error = (measured_flow(truth.images) - truth.flow).norm(dim=-1)
    assert error[truth.visible].median() < 0.3


def test_better_flow_keeps_a_share_of_the_error_where_the_point_is_seen(truth):
    measured = truth.flow + 2.0
    mixed = better_flow(measured, truth, torch.tensor((0.0, 0.5, 1.0)))
    error = (mixed - truth.flow)[..., 0]
    for pair, kept in enumerate((0.0, 1.0, 2.0)):
        assert torch.allclose(error[pair][truth.visible[pair]], torch.tensor(kept), atol=1e-4)
        assert torch.allclose(error[pair][~truth.visible[pair]], torch.tensor(2.0), atol=1e-4)


def test_schedule():
    settings = TrainSettings(steps=1000, learning_rate=1.0, warmup_steps=100, flat=0.4)
    rates = [settings.rate(s, settings.progress(s, 0.0)) for s in (0, 49, 99, 300, 400, 700, 1000)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0], abs=1e-6)
    timed = TrainSettings(minutes=2.0)
    assert timed.progress(10**6, 30.0) == 0.25
    assert timed.progress(0, 500.0) == 1.0
    stages = TrainSettings(
        steps=10, stages=(TrainingStage(0.0, ((16, 16),), 1), TrainingStage(0.5, ((32, 32),), 2))
    )
    assert [stages.stage(p).batch for p in (0.0, 0.49, 0.5, 1.0)] == [1, 1, 2, 2]

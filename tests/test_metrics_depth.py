"""Depth measures on cases worked out by hand."""

import numpy as np
import pytest

from dpm_cli.workshop.metrics import depth as m

TRUTH = np.array([[1.0, 2.0], [4.0, 8.0]])
ALL = np.ones((2, 2), bool)


def test_truth_against_itself_is_perfect():
    errors = m.depth_errors(TRUTH, TRUTH, ALL)
    assert (errors.absrel, errors.delta_1_25, errors.pixels) == (0.0, 1.0, 4)


def test_depth_errors_by_hand():
    # Relative errors .5, .1, .2 and, masked out, 9; ratios 1.5, 1.1, 1.25 (4 / 3.2): only 1.1 is below 1.25.
    depth = np.array([[1.5, 2.2], [3.2, 80.0]])
    valid = np.array([[True, True], [True, False]])
    errors = m.depth_errors(depth, TRUTH, valid)
    assert errors.absrel == pytest.approx((0.5 + 0.1 + 0.2) / 3)
    assert errors.delta_1_25 == pytest.approx(1 / 3)


def test_nothing_valid_is_nan():
    assert np.isnan(m.depth_errors(TRUTH, TRUTH, ~ALL).absrel)
    assert np.isnan(m.cover(ALL, ~ALL))


def test_median_scale_by_hand():
    # Medians 3 (of 1 2 4 8) and 1.5.
    assert m.median_scale(TRUTH / 2, TRUTH, ALL).scale == pytest.approx(2.0)


def test_lad_scale_is_the_weighted_median_of_ratios():
    # Ratios 1, 2, 10 with weights 1, 1, 3: half of 5 is reached inside the third.
    depth, truth = np.array([1.0, 1.0, 3.0]), np.array([1.0, 2.0, 30.0])
    assert m.lad_scale(depth, truth, np.ones(3, bool)).scale == pytest.approx(10.0)
    # With weights 2, 2, 1 the second ratio wins, however large the third is.
    depth, truth = np.array([2.0, 2.0, 1.0]), np.array([2.0, 4.0, 1e6])
    assert m.lad_scale(depth, truth, np.ones(3, bool)).scale == pytest.approx(2.0)


def test_lad_scale_beats_a_grid():
    rng = np.random.default_rng(0)
    d = rng.uniform(1, 5, 500)
    g = 1.7 * d * np.exp(0.3 * rng.standard_normal(500))
    best = m.lad_scale(d, g, np.ones(500, bool)).scale
    grid = np.linspace(0.5, 3, 20001)
    costs = np.abs(grid[:, None] * d - g).sum(1)
    assert np.abs(best * d - g).sum() <= costs.min() + 1e-9


@pytest.mark.parametrize(("scale", "shift"), [(2.0, 0.5), (0.1, -0.05), (30.0, 100.0)])
def test_scale_and_shift_survive_outliers(scale, shift):
    rng = np.random.default_rng(1)
    d = rng.uniform(1, 5, 2000)
    g = scale * d + shift
    g[:300] += rng.uniform(50, 100, 300)
    fit = m.lad_scale_shift(d, g, np.ones(2000, bool))
    assert fit.scale == pytest.approx(scale, rel=1e-5)
    assert fit.shift == pytest.approx(shift, rel=1e-4, abs=1e-5)


def test_scale_and_shift_is_the_optimum_of_a_noisy_fit():
    rng = np.random.default_rng(2)
    d = rng.uniform(1, 5, 300)
    g = 2 * d + 1 + rng.standard_normal(300)
    fit = m.lad_scale_shift(d, g, np.ones(300, bool))
    best = np.abs(fit.apply(d) - g).sum()
    for s in np.linspace(1.5, 2.5, 101):
        for t in np.linspace(0, 2, 41):
            assert best <= np.abs(s * d + t - g).sum() + 1e-6


def test_constant_prediction_gets_the_median():
    fit = m.lad_scale_shift(np.ones((2, 2)), TRUTH, ALL)
    assert (fit.scale, fit.shift) == (0.0, 3.0)


def test_cover():
    assert (
        m.cover(np.array([[True, False], [True, True]]), np.array([[True, True], [False, False]]))
        == 0.5
    )

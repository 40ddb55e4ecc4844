"""A prior aligned with the run, judged by it, and combined with it: exact cases and cases worked by hand."""

import numpy as np
import pytest

from dpm_cli.focal import FocalEstimate
from dpm_cli.prior.affine import Affine, fit_affine, median_of
from dpm_cli.prior.combine import combine
from dpm_cli.prior.estimate import PriorEstimate
from dpm_cli.prior.focal import combined, prior_focal, with_prior
from dpm_cli.prior.links import Links, joint_scales, link_frames
from dpm_cli.prior.store import PriorStore
from dpm_cli.prior.witness import (
    PriorGrid,
    RunGrid,
    Witness,
    found_error,
    linked_fits,
    own_fits,
    typical_inverse,
)

T, H, W = 5, 18, 27
NO_LINKS = Links(np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0))


def relief(seed=0):
    """Inverse depth (T, H, W) of a slope with bumps."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:H, :W]
    bumps = sum(
        rng.uniform(0.1, 0.6) * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 12)
        for a, b in rng.uniform(0, 20, (5, 2))
    )
    return np.stack([0.3 + 0.7 * y / H + bumps + 0.02 * t for t in range(T)])


def test_scale_and_shift_are_found_among_outliers_and_follow_the_data():
    rng = np.random.default_rng(1)
    prior = rng.uniform(0.4, 2.5, 2000)
    log_inverse = Affine(0.7, 0.25).log_inverse(prior)
    log_inverse[:500] += rng.uniform(-2, 2, 500)
    found = fit_affine(prior, log_inverse, np.full(2000, 400.0), 10.0)
    assert found.log_scale == pytest.approx(0.7, abs=1e-2)
    assert found.shift == pytest.approx(0.25, abs=1e-2)
    moved = fit_affine(prior, log_inverse + 3, np.full(2000, 400.0), 10.0)
    assert moved.log_scale == pytest.approx(found.log_scale + 3, abs=1e-4)
    assert moved.shift == pytest.approx(found.shift, abs=1e-4)


def test_what_is_expected_holds_where_data_say_little():
    prior = np.linspace(0.5, 2, 50)
    log_inverse = Affine(0.0, 0.5).log_inverse(prior)
    stiff = fit_affine(prior, log_inverse, np.full(50, 1.0), 0.01)
    free = fit_affine(prior, log_inverse, np.full(50, 1e9), 0.01)
    assert abs(stiff.shift) < 0.02
    assert free.shift == pytest.approx(0.5, abs=1e-2)
    start = Affine(0.3, 0.1)
    assert fit_affine(prior, log_inverse, np.zeros(50), 0.1, start) == start


def test_scales_follow_links_and_one_wrong_link_is_outvoted():
    truth = np.array((0.0, 0.1, -0.2, 0.3, 0.05))
    pairs = np.array([(i, j) for i in range(T) for j in range(i + 1, T)])
    difference = truth[pairs[:, 0]] - truth[pairs[:, 1]]
    difference[3] += 1.0
    links = Links(pairs, difference, np.full(len(pairs), 0.01))
    found = joint_scales(links, np.zeros(T), np.full(T, 0.3))
    np.testing.assert_allclose(found - found.mean(), truth - truth.mean(), atol=5e-3)
    assert found.mean() == pytest.approx(0, abs=1e-6)
    own = np.array((0.5, -0.5, 0, 0, 0.0))
    np.testing.assert_allclose(joint_scales(NO_LINKS, own, np.full(T, 0.1)), own)


def test_frames_of_a_still_camera_are_linked_through_their_flow():
    q = np.repeat(relief()[:1], 2, 0)
    log_inverse = np.log(q) + np.array((0.0, 0.2))[:, None, None]
    flow = np.zeros((1, H, W, 2))
    ones = np.ones((1, H, W))
    links = link_frames(
        np.array([(0, 1)]), log_inverse, q > 0, flow, ones, np.zeros((1, H, W)), 8.0
    )
    assert links.difference[0] == pytest.approx(0.2, abs=1e-5)
    farther = link_frames(
        np.array([(0, 1)]), log_inverse, q > 0, flow, ones, np.full((1, H, W), 0.3), 8.0
    )
    assert farther.difference[0] == pytest.approx(0.5, abs=1e-5)
    moving = link_frames(
        np.array([(0, 1)]), log_inverse, q > 0, flow, 0 * ones, np.zeros((1, H, W)), 8.0
    )
    assert len(moving.pairs) == 0


def grids(said, informed=True, run_noise=0.03, seed=2):
    """The run knows `relief()` with noise; the prior says `said` (T, H, W)."""
    rng = np.random.default_rng(seed)
    exact = relief()
    log_depth = -np.log(exact) + rng.normal(0, run_noise, exact.shape)
    run = RunGrid(
        log_depth,
        np.full(exact.shape, run_noise),
        np.full(exact.shape, informed),
        np.zeros(T, np.int64),
    )
    return run, PriorGrid(said, np.ones(said.shape, bool), 0.1, 0.1)


def judged(run, prior):
    typical = typical_inverse(prior, run.shot)
    fits, sigma = own_fits(run, prior, typical)
    linked = linked_fits(fits, sigma, NO_LINKS)
    return linked, typical, found_error(run, prior, typical, linked)


@pytest.mark.parametrize("error", [0.05, 0.15])
def test_the_error_of_a_prior_is_measured_on_what_parallax_knows(error):
    rng = np.random.default_rng(3)
    run, prior = grids(4 * relief() * np.exp(rng.normal(0, error, (T, H, W))))
    linked, typical, (sigma, trust) = judged(run, prior)
    assert trust == 1
    assert sigma == pytest.approx(error, rel=0.25, abs=0.02)
    for t in range(T):
        aligned = linked[t].log_inverse(prior.inverse_depth[t] / typical[t])
        assert abs(np.median(aligned - np.log(relief()[t]))) < 0.02


@pytest.mark.parametrize(
    "said",
    [
        np.ones((T, H, W)),
        relief()[:, ::-1].copy(),
        2 - relief() / relief().max(),
        np.random.default_rng(0).uniform(0.2, 2, (T, H, W)),
    ],
    ids=["constant", "upside down", "inverted", "noise"],
)
def test_a_prior_that_explains_nothing_is_refused(said):
    _, _, (_, trust) = judged(*grids(said))
    assert trust == 0


def test_where_nothing_has_parallax_the_priors_own_word_stands():
    run, prior = grids(relief(), informed=False)
    linked, typical, (sigma, trust) = judged(run, prior)
    assert (sigma, trust) == (0.1, 1.0)
    # No shift may be told by a guess of depth; its scale may.
    assert max(abs(fit.shift) for fit in linked) < 1e-9
    ratio = linked[0].log_inverse(prior.inverse_depth[0] / typical[0]) + run.log_depth[0]
    assert abs(np.median(ratio)) < 0.05


def test_two_witnesses_are_weighed_by_their_variances():
    log_depth, other = np.zeros((1, 4)), np.array([[0.1, 0.1, 0.1, 5.0]])
    confidence = np.array([[10.0, 10.0, 0.0, 10.0]])
    sigma = np.array([[0.1, 0.05, 0.2, np.inf]])
    fused, sure = combine(log_depth, confidence, other, sigma)
    # (0 / .01 + .1 / .01) / (2 / .01); (.1 / .0025) / (1 / .01 + 1 / .0025); the prior alone; the run alone.
    np.testing.assert_allclose(fused, [[0.05, 0.08, 0.1, 0.0]], atol=1e-6)
    # Variance .005 + .5 * .5 * .01; .002 + .2 * .8 * .01.
    np.testing.assert_allclose(sure, [[0.0075**-0.5, 0.0036**-0.5, 5.0, 10.0]], rtol=1e-5)


def test_of_two_surfaces_the_surer_one_is_taken_not_a_point_between():
    fused, sure = combine(*(np.array([[v]]) for v in (0.0, 50.0, 1.5, 0.1)))
    assert abs(fused[0, 0]) < 0.02
    assert sure[0, 0] < 50
    fused, _ = combine(*(np.array([[v]]) for v in (0.0, 2.0, 3.0, 0.02)))
    assert fused[0, 0] == pytest.approx(3.0, abs=0.02)


def test_edges_are_less_certain_and_a_refused_prior_says_nothing(tmp_path):
    inverse = np.ones((20, 30), np.float32)
    inverse[:, 15:] = 2
    valid = np.ones((20, 30), bool)
    valid[0] = False
    store = PriorStore(tmp_path)
    store.write(0, PriorEstimate(inverse, valid, ~valid, 0.1, 0.1, True))
    witness = Witness(
        store, (Affine(np.log(3), 0.0),), np.array((1.0,)), 0.05, 1.0, np.array((False,))
    )
    frame = witness.frame(0)
    np.testing.assert_allclose(np.exp(-frame.log_depth[5, ::29]), (3, 6), rtol=1e-5)
    assert frame.sigma[5, 2] == pytest.approx(0.05)
    assert frame.sigma[5, 15] > 0.2
    assert np.isinf(frame.sigma[0]).all()
    assert frame.sky[0].all()
    spoken = Witness(store, witness.affine, witness.typical, 0.05, 1.0, ~witness.spoken).frame(0)
    assert np.isinf(spoken.sigma).all()
    assert spoken.sky[0].all()
    refused = Witness(store, witness.affine, witness.typical, 0.05, 0.0, witness.spoken).frame(0)
    assert np.isinf(refused.sigma).all()
    assert not refused.sky.any()


def test_focal_lengths_are_weighed_and_the_less_certain_one_loses_a_contradiction(tmp_path):
    mean, sigma = combined((1.0, 0.1), (1.0, 0.1))
    assert mean == pytest.approx(1)
    assert sigma == pytest.approx(0.1 / 2**0.5)
    assert combined((2.0, 0.2), (1.0, 0.02))[0] == pytest.approx(1.0, abs=0.01)
    store = PriorStore(tmp_path)
    plain = np.ones((2, 2), np.float32)
    for t, focal_px in enumerate((100.0, None, 110.0, 300.0)):
        store.write(t, PriorEstimate(plain, plain > 0, plain < 0, 0.1, 0.1, True, focal_px, 0.08))
    said = prior_focal(store, 4)
    assert said is not None
    assert np.exp(said[0]) == pytest.approx(110)
    assert said[1] > 0.08
    own = FocalEstimate(110.0, 0.2, "clip")
    both = with_prior(own, store, 4, "a prior")
    assert both is not None
    assert both.focal_px == pytest.approx(110)
    assert both.source == "prior"
    assert both.sigma_log < said[1]
    assert "from a prior and the clip" in str(both.note(200))
    store.write(0, PriorEstimate(plain, plain > 0, plain < 0, 0.1, 0.1, True))
    assert prior_focal(store, 2) is None
    assert with_prior(own, store, 2, "a prior") is None


def test_the_weighted_median_of_nothing_is_nothing():
    assert median_of(np.array((3.0, 4.0)), np.zeros(2)) == 0
    assert median_of(np.array((5.0, 1.0, 3.0)), np.array((1.0, 1.0, 9.0))) == 3

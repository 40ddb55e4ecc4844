"""Optical flow, matches, masks and focal lengths on cases worked out by hand."""

import numpy as np
import pytest

from dpm_cli.workshop.metrics import correspondence, focal, masks, optical_flow


def test_flow_by_hand():
    # Errors 0, 2, 4, 4 px; the last is 4 of 100 px = 4 %, so Fl does not count it.
    truth = np.array([[[1.0, 0], [0, 3.0]], [[10.0, 0], [100.0, 0]]])
    flow = truth + np.array([[[0, 0], [2.0, 0]], [[0, 4.0], [0, 4.0]]])
    errors = optical_flow.flow_errors(flow, truth, np.ones((2, 2), bool))
    assert errors.epe == pytest.approx(2.5)
    assert errors.fl == pytest.approx(0.25)
    assert errors.within_1px == 0.25
    seen = np.array([[True, True], [False, False]])
    assert optical_flow.flow_errors(flow, truth, seen).epe == pytest.approx(1.0)
    assert np.isnan(optical_flow.flow_errors(flow, truth, ~seen & seen).epe)
    assert optical_flow.flow_errors(truth, truth, np.ones((2, 2), bool)).fl == 0.0


def test_matches_by_hand():
    flow = np.zeros((4, 6, 2))
    flow[..., 0] = 1.0
    visible = np.ones((4, 6), bool)
    visible[3] = False
    one = np.array([[0.0, 0], [1.0, 1], [2.0, 2], [0.0, 3]])
    two = one + np.array([[1.0, 0], [1.0, 2.0], [5.0, 0], [77.0, 0]])  # errors 0, 2, 4, hidden
    errors = correspondence.match_errors(one, two, flow, visible)
    assert errors.count == 3
    assert (errors.within_1px, errors.within_3px, errors.within_5px) == pytest.approx(
        (1 / 3, 2 / 3, 1)
    )
    assert np.isnan(correspondence.match_errors(one[3:], two[3:], flow, visible).within_1px)


def test_iou_by_hand():
    truth = np.zeros((4, 4), bool)
    truth[:, :2] = True
    mask = np.zeros((4, 4), bool)
    mask[:, 1:3] = True
    assert masks.iou(mask, truth) == pytest.approx(4 / 12)
    known = np.ones((4, 4), bool)
    known[:, 2] = False
    assert masks.iou(mask, truth, known) == pytest.approx(4 / 8)
    assert masks.iou(truth, truth) == 1.0
    assert masks.iou(truth & False, truth & False) == 1.0
    assert masks.iou(truth & False, truth) == 0.0


def test_boundary_by_hand():
    mask = np.zeros((3, 4), bool)
    mask[:, 2:] = True
    expected = np.zeros((3, 4), bool)
    expected[:, 1] = True
    assert (masks.boundary(mask) == expected).all()


def test_boundary_f_by_hand():
    # Image 60 x 80: diagonal 100, tolerance .008 -> radius ceil(.8) = 1 pixel.
    truth = np.zeros((60, 80), bool)
    truth[:, 40:] = True
    near, far = np.roll(truth, 1, 1), np.roll(truth, 2, 1)
    near[:, 0] = far[:, :2] = False
    assert masks.boundary_f(truth, truth) == 1.0
    assert masks.boundary_f(near, truth) == 1.0
    assert masks.boundary_f(far, truth) == 0.0
    assert masks.boundary_f(truth & False, truth) == 0.0
    # Precision 1 of 1 line, recall: the truth has a second line of the same length that is not found.
    two = truth.copy()
    two[:, 60:] = False
    assert masks.boundary_f(truth, two) == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_focal_by_hand():
    assert focal.focal_error(np.array([110.0, 80.0]), np.array([100.0, 100.0])) == pytest.approx(
        0.15
    )

"""The check of stated shapes itself: it must see what is wrong, and must see enough."""

from dataclasses import dataclass

import pytest
import torch
from conftest import COUNTS
from shape_checks import WrongShapeError, arguments, compare, fields_of, parse
from torch import Tensor

from dpm_cli.geometry.rigid import transform
from dpm_cli.structures import PairPrediction


def turn(vector: Tensor, weight: Tensor, by: Tensor) -> None:
    """Turn vector (N, 3) or (B, N, 3) about `by` (..., 3).

    Args:
        weight: (N,) of each.
    """


@dataclass
class Maps:
    depth: Tensor
    """(2, H, W) z."""
    half: Tensor
    """(H / 2, W / 2)."""
    name: str
    """Of the file."""


def test_what_docstrings_say_is_read():
    assert [(s.name, s.axes) for s in arguments(turn)] == [
        ("vector", ("N 3", "B N 3")),
        ("by", ("... 3",)),
        ("weight", ("N",)),
    ]
    assert [(s.name, s.axes) for s in fields_of(Maps)] == [
        ("depth", ("2 H W",)),
        ("half", ("_ _",)),
    ]
    assert parse("share", "(0) to (1) of the way") is None


def test_names_must_agree_within_one_call():
    stated = arguments(turn)
    values = {"vector": torch.zeros(5, 4, 3), "weight": torch.zeros(4), "by": torch.zeros(3)}
    compare(values, stated, "turn")
    for name, wrong in (("weight", (3,)), ("vector", (4, 2)), ("by", (2, 2))):
        with pytest.raises(WrongShapeError, match=f"turn: {name} is"):
            compare(values | {name: torch.zeros(wrong)}, stated, "turn")


def test_the_product_is_checked():
    assert sum(COUNTS.values()) > 900
    arrays = ("geometry", "twoview", "align", "motion", "prior", "passes", "matching", "formats")
    for part in (*arrays, "export", "network", "predictors", "sequence", "structures", "workshop"):
        assert COUNTS[part] >= 15, part
    with pytest.raises(WrongShapeError, match="transform: points"):
        transform(torch.eye(4), torch.zeros(5, 2))
    with pytest.raises(WrongShapeError, match="PairPrediction: confidence"):
        PairPrediction(torch.zeros(1, 2, 2, 4, 6, 3), torch.zeros(1, 2, 2, 4, 5))

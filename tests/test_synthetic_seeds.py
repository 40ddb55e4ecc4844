from itertools import pairwise

import numpy as np
import pytest
import torch

from dpm_cli.errors import UsageError
from dpm_cli.workshop.synthetic.seeds import SCENES_PER_SPLIT, SPLITS, Draw, scene_seed, seed_split
from dpm_cli.workshop.synthetic.textures import POOL, gather_textures, make_texture


def test_ranges_of_the_splits_never_meet():
    ranges = [(scene_seed(s, 0), scene_seed(s, SCENES_PER_SPLIT - 1)) for s in SPLITS]
    assert all(high - low == SCENES_PER_SPLIT - 1 for low, high in ranges)
    assert all(a[1] < b[0] for a, b in pairwise(ranges))


def test_seed_says_its_split():
    seeds = torch.tensor([scene_seed(s, i) for s in SPLITS for i in (0, 5, SCENES_PER_SPLIT - 1)])
    assert seed_split(seeds).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("split", "index"), [("dev", 0), ("train", -1), ("train", SCENES_PER_SPLIT)]
)
def test_seeds_outside_are_refused(split, index):
    with pytest.raises(UsageError):
        scene_seed(split, index)


def test_draws_do_not_depend_on_the_batch_or_on_other_names():
    seeds = torch.tensor([3, 99, scene_seed("test", 7)])
    whole = Draw(seeds).uniform("a", 4, 5)
    Draw(seeds).uniform("b", 2)
    assert torch.equal(Draw(seeds[1:2]).uniform("a", 4, 5)[0], whole[1])
    assert not torch.equal(Draw(seeds).uniform("c", 4, 5), whole)


def test_draws_have_the_stated_distributions():
    draw = Draw(torch.arange(2000))
    u, n = draw.uniform("u", 50), draw.normal("n", 50)
    assert abs(float(u.mean()) - 0.5) < 3e-3
    assert abs(float(u.var()) - 1 / 12) < 1e-3
    assert abs(float(n.mean())) < 0.01
    assert abs(float(n.std()) - 1) < 0.01
    assert abs(float(torch.corrcoef(u[:, :2].T)[0, 1])) < 0.06
    counts = torch.bincount(draw.choice("k", (1.0, 0.0, 3.0), 50).flatten(), minlength=3) / 100_000
    assert torch.allclose(counts, torch.tensor((0.25, 0.0, 0.75)), atol=0.01)
    assert torch.allclose(draw.direction("d", 3).norm(dim=-1), torch.ones(()), atol=1e-5)


def test_textures_differ_between_splits_and_repeat():
    assert np.array_equal(make_texture(0, 5), make_texture(0, 5))
    assert not np.array_equal(make_texture(0, 5), make_texture(2, 5))


def test_gathered_textures_are_the_made_ones():
    split, index = torch.tensor([0, 1]), torch.tensor([[3, POOL - 1], [3, 3]])
    texels, start = gather_textures(split, index)
    assert start[1, 0] == start[1, 1]
    assert start[0, 0] != start[1, 0]
    first = int(texels[start[1, 0]])
    red, green, blue = first & 255, first >> 8 & 255, first >> 16
    assert np.allclose(np.array((red, green, blue)) / 255, make_texture(1, 3)[0, 0], atol=0.5 / 255)

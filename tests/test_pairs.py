import numpy as np
import pytest

from dpm_cli.errors import UsageError
from dpm_cli.passes.pairs import pair_graph


def components(pairs, count):
    label = np.arange(count)
    for i, j in pairs:
        label[label == label[j]] = label[i]
    return len(set(label))


@pytest.mark.parametrize("graph", ["auto", "complete", "1", "3,20", "5"])
@pytest.mark.parametrize("count", [2, 3, 9, 40])
def test_a_shot_is_connected_and_pairs_are_unique(graph, count):
    pairs = pair_graph(np.zeros(count, int), graph)
    assert components(pairs, count) == 1
    assert len({tuple(p) for p in pairs}) == len(pairs)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert (np.diff(pairs[:, 1]) >= 0).all()


def test_complete_has_every_pair():
    assert len(pair_graph(np.zeros(7, int), "complete")) == 21


def test_pairs_never_cross_a_cut():
    shot = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    pairs = pair_graph(shot)
    assert (shot[pairs[:, 0]] == shot[pairs[:, 1]]).all()
    assert [7, 7] in pairs.tolist()
    assert components(pairs, 8) == 3


def test_one_frame_is_paired_with_itself():
    assert pair_graph(np.zeros(1, int)).tolist() == [[0, 0]]


@pytest.mark.parametrize("graph", ["0", "a", "1,-2", ""])
def test_a_wrong_graph_is_a_usage_error(graph):
    with pytest.raises(UsageError, match="--pairs"):
        pair_graph(np.zeros(3, int), graph)

import numpy as np
import pytest
import torch

from dpm_cli.align.depth import fuse_log_depth
from dpm_cli.align.graph import connected_parts, tree_poses, triangle_agreement
from dpm_cli.align.scales import DepthOffsets, solve_scales
from dpm_cli.geometry.rigid import invert, se3_exp


def cameras(frames: int) -> np.ndarray:
    x = 0.3 * torch.randn(
        frames, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    x[0] = 0
    return se3_exp(x).numpy()


def relative(C: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """cam2_from_cam1 of each pair."""
    return invert(torch.from_numpy(C[pairs[:, 1]])).numpy() @ C[pairs[:, 0]]


def test_parts_are_numbered_in_order_of_time():
    assert connected_parts(np.array([[5, 4], [1, 0]]), 6).tolist() == [0, 0, 1, 2, 3, 3]


def test_triangles_find_the_wrong_pass_whatever_its_direction():
    pairs = np.array([(i, j) for i in range(7) for j in range(i + 1, 7)])
    pairs[::2] = pairs[::2, ::-1]
    C = cameras(7)
    T = (
        relative(C, pairs)
        @ se3_exp(1e-3 * torch.randn(21, 6, generator=torch.Generator().manual_seed(1)))
        .double()
        .numpy()
    )
    T[5] = T[5] @ se3_exp(torch.tensor([0.5, 0, 0, 0, 0.5, 0], dtype=torch.float64)).numpy()
    agreement = triangle_agreement(pairs, T, 7)
    assert agreement.argmin() == 5
    assert agreement[5] < 0.1 < 0.5 * np.delete(agreement, 5).min()


def test_the_tree_goes_around_unreliable_passes():
    pairs = np.array([[0, 1], [2, 1], [0, 2], [3, 2]])
    C = cameras(4)
    T = relative(C, pairs)
    T[2] = np.eye(4)
    found = tree_poses(pairs, T, np.array([0.9, 0.9, 0.1, 0.5]), connected_parts(pairs, 4))
    assert np.allclose(found, C, atol=1e-10)


def test_scales_follow_from_offsets_and_a_wrong_ratio_is_outvoted():
    pairs = np.array([(i, j) for i in range(8) for j in (i + 1, i + 2, i + 3) if j < 8])
    rng = np.random.default_rng(0)
    level, scale = rng.normal(size=8), rng.normal(size=len(pairs))
    offset = level[pairs] - scale[:, None]
    offset[4, 1] += 0.7
    found = solve_scales(pairs, 8, DepthOffsets(offset, np.full(offset.shape, 1e-3)))
    good = np.arange(len(pairs)) != 4
    assert np.allclose((found.log_scale - scale)[good], (found.log_scale - scale)[0], atol=1e-4)
    assert np.allclose(found.level - level, (found.level - level)[0], atol=1e-4)


def test_fused_depth_takes_a_side_and_ignores_what_has_no_vote():
    near, far = np.log(2.0), np.log(10.0)
    maps = np.array([near, near, far, 99.0], np.float32)[:, None, None]
    votes = np.array([10.0, 10.0, 10.0, 0.0], np.float32)[:, None, None]
    fused, confidence = fuse_log_depth(maps, votes)
    assert fused[0, 0] == pytest.approx(near)
    assert confidence[0, 0] == pytest.approx(10)
    confident_far, _ = fuse_log_depth(
        maps, votes * np.array([1, 1, 2, 1], np.float32)[:, None, None]
    )
    assert confident_far[0, 0] == pytest.approx(far)


def test_fused_confidence_is_the_worse_of_claim_and_disagreement():
    maps = np.array([-0.2, 0.0, 0.2], np.float32)[:, None, None]
    claimed = np.full((3, 1, 1), 100.0, np.float32)
    assert fuse_log_depth(maps, claimed)[1][0, 0] == pytest.approx(1 / (1.4826 * 0.2), rel=1e-3)
    assert fuse_log_depth(0 * maps, claimed)[1][0, 0] == pytest.approx(100)


def test_fusing_one_map_is_that_map_and_nothing_is_zero():
    maps = np.array([[[0.5, 1.5]]], np.float32)
    fused, confidence = fuse_log_depth(maps, np.array([[[3.0, 0.0]]], np.float32))
    assert fused.tolist() == [[0.5, 0.0]]
    assert confidence[0].tolist() == pytest.approx([3, 0])


def test_even_votes_meet_in_the_middle():
    maps = np.array([1.0, 2.0, 3.0, 8.0], np.float32)[:, None, None]
    assert fuse_log_depth(maps, np.ones_like(maps))[0][0, 0] == pytest.approx(2.5)

"""Size: passes made directly, without maps, as many as long clips have."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import splu

from dpm_cli.align import Passes, align, normal_solve
from dpm_cli.align.passes import grid_step
from dpm_cli.geometry.rigid import invert, se3_exp


def walk(frames: int, strides: tuple[int, ...], grid: tuple[int, int], seed: int = 0):
    """Passes both ways along a smooth walk, cam2world (T, 4, 4) and which passes are wrong (a tenth)."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None]
    curve = np.concatenate((0.05 * t, np.sin(t / 9), np.cos(t / 7)), 1)
    twist = np.concatenate((curve - curve[:1], 0.01 * t * np.ones((1, 3))), 1)
    cam2world = se3_exp(torch.from_numpy(twist)).numpy()
    pairs = np.array([(i, i + s) for s in strides for i in range(frames - s)])
    pairs = np.concatenate((pairs, pairs[:, ::-1]))
    count = len(pairs)
    sigma = np.array([3e-3] * 3 + [6e-4] * 3)
    noise = se3_exp(torch.from_numpy(sigma * rng.normal(size=(count, 6)))).numpy()
    wrong = rng.random(count) < 0.1
    noise[wrong] = se3_exp(torch.from_numpy(0.3 * rng.normal(size=(wrong.sum(), 6)))).numpy()
    pose = noise @ invert(torch.from_numpy(cam2world[pairs[:, 1]])).numpy() @ cam2world[pairs[:, 0]]
    log_scale = 0.7 * rng.normal(size=count)
    pose[:, :3, 3] *= np.exp(-log_scale)[:, None]
    covariance = np.tile(np.diag(sigma**2), (count, 1, 1))
    covariance[:, :3, :3] *= np.exp(-2 * log_scale)[:, None, None]
    surface = rng.normal(1, 0.5, (frames, *grid)).astype(np.float32)
    log_depth = surface[pairs] - log_scale[:, None, None, None].astype(np.float32)
    log_depth += 0.02 * rng.standard_normal(log_depth.shape, dtype=np.float32)
    passes = Passes(
        pairs=pairs,
        cam2_from_cam1=pose,
        pose_covariance=covariance,
        pose_inliers=np.ones(count),
        twist_per_log_focal=np.zeros((count, 6)),
        focal_px=np.full((count, 2), 460.0),
        focal_sigma_log=np.full(count, 1e-3),
        log_depth=log_depth,
        confidence=np.full(log_depth.shape, 50, np.float32),
        status=np.full(count, "ok"),
    )
    return passes, cam2world, wrong


def test_65_frames_with_600_pairs_are_few_small_solves(monkeypatch):
    """What the time is made of, counted (seconds depend on what else the machine does): steps, and how full each is."""
    passes, cam2world, wrong = walk(65, (1, 3, 5, 7, 9), (36, 64))
    assert len(passes) == 600
    unknowns = 64 * 7
    entries = []

    def counted(matrix, **options):
        factor = splu(matrix, **options)
        if matrix.shape[0] == unknowns:  # depth levels are solved for too
            entries.append(factor.L.nnz)
        return factor

    monkeypatch.setattr(normal_solve, "splu", counted)
    found = align(passes, 65, size=(288, 512))
    assert len(entries) <= 32  # 27 when this was written
    assert max(entries) < unknowns**2 / 2 / 3  # a third of a full factor; it was 27 %
    assert np.array_equal(found.usable, ~wrong)
    scale = np.exp(found.log_scale[0])
    assert scale > 0
    ratio = np.linalg.norm(cam2world[64, :3, 3]) / np.linalg.norm(
        found.cameras.cam2world[64, :3, 3]
    )
    assert np.allclose(found.cameras.cam2world[:, :3, 3] * ratio, cam2world[:, :3, 3], atol=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_many_wrong_pairs_do_not_shrink_the_world_or_cut_off_its_first_frame(seed):
    """A cost in world units is least for a world of no size that leaves its anchored frame behind."""
    passes, _, wrong = walk(150, (1, 2, 4, 8), (6, 8), seed)
    found = align(passes, 150, size=(48, 64))
    assert found.cameras.registered.all()
    assert (found.shot == 0).all()
    assert not found.usable[wrong].any()
    assert found.usable[~wrong].mean() > 0.99


@pytest.mark.slow
def test_a_thousand_frames():
    passes, _, wrong = walk(1000, (1, 4), (36, 64))
    assert grid_step(len(passes), (36, 64)) == 3
    found = align(passes, 1000, size=(288, 512))
    assert found.cameras.registered.all()
    assert not found.usable[wrong].any()

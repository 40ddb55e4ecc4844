"""Start values of robust PnP: the identity where that leads to a good fit, else a linear fit, else RANSAC."""

import cv2
import numpy as np
import torch
from torch import Tensor

from dpm_cli.geometry.pnp_refine import PnpProblem, gram, linearise, make_problem, refine
from dpm_cli.geometry.rigid import rigid, so3_exp
from dpm_cli.geometry.robust import weighted_median

_POINTS = 384
_MIN_POINTS = 6
_STEPS = 6

EXPLAINED = 0.03
"""A pose explains a point that lies within this angle (radians) of its pixel's ray."""

_GOOD = 0.8
_BAD = 0.5


def start_pose(problem: PnpProblem) -> Tensor:
    """Start poses (B, 4, 4) from a few hundred of the points."""
    problem = thin(problem, _POINTS)
    identity = torch.eye(4, dtype=problem.K.dtype, device=problem.K.device)
    pose = refine(problem, identity.expand(len(problem.K), 4, 4), iterations=_STEPS).pose
    share = explained_share(problem, pose)
    if bool((share < _GOOD).any()):
        other = refine(problem, _linear_pose(problem), iterations=_STEPS).pose
        other_share = explained_share(problem, other)
        pose = torch.where((other_share > share)[:, None, None], other, pose)
        share = torch.maximum(share, other_share)
    # RANSAC is slow and has no batch, but only pairs with gross errors come here.
    for b in (share < _BAD).nonzero()[:, 0].tolist():
        found = _ransac(problem, b)
        if found is not None and explained_share(problem, found.expand_as(pose))[b] > share[b]:
            pose = pose.index_copy(0, torch.tensor([b], device=pose.device), found[None])
    return pose


def explained_share(problem: PnpProblem, pose: Tensor) -> Tensor:
    """Share of the weight (B,) within the angle `EXPLAINED`, softly, so that accuracy decides ties."""
    angle = linearise(problem, pose).size / problem.focal_px
    return (problem.weights * EXPLAINED**2 / (EXPLAINED**2 + angle**2)).sum(-1) / (
        problem.weights.sum(-1)
    )


def thin(problem: PnpProblem, count: int) -> PnpProblem:
    """Every n-th point, about `count`, unless too few of those have weight."""
    step = max(1, problem.points.shape[1] // count)
    points, pixels, weights = (
        v[:, ::step] for v in (problem.points, problem.pixels, problem.weights)
    )
    if bool(((weights > 0).sum(-1) < _MIN_POINTS).any()):
        return problem
    return make_problem(points, pixels, weights, problem.K)


def _linear_pose(problem: PnpProblem, iterations: int = 5) -> Tensor:
    """Direct linear transform (B, 4, 4), reweighted: both tangents of each ray are across R x + t."""
    points, w = problem.points, problem.weights
    total = w.sum(-1, keepdim=True)
    mean = (w[..., None] * points).sum(1, keepdim=True) / total[..., None]
    centred = points - mean
    scale = ((w * centred.square().sum(-1)).sum(-1) / total[:, 0]).sqrt().clamp_min(1e-12)
    homogeneous = torch.cat((centred / scale[:, None, None], torch.ones_like(w)[..., None]), -1)
    A = (problem.tangents[..., :, None] * homogeneous[..., None, None, :]).flatten(-2)
    robust, M = w, torch.empty(0)
    for _ in range(iterations):
        M = torch.linalg.eigh(gram(A, robust, A))[1][..., 0].unflatten(-1, (3, 4))
        size = (A @ M.flatten(-2)[:, None, :, None])[..., 0].norm(dim=-1)
        width = (4 * weighted_median(size, w)).clamp_min(1e-12)[:, None]
        robust = w * (width**2 / (width**2 + size**2)) ** 2
    U, D, Vh = torch.linalg.svd(M[..., :3])
    sign = torch.where(torch.linalg.det(U @ Vh) < 0, -1.0, 1.0).to(D)
    R = sign[:, None, None] * (U @ Vh)
    factor = sign * scale / D.mean(-1).clamp_min(1e-12)
    return rigid(R, factor[:, None] * M[..., 3] - (R @ mean.transpose(-1, -2))[..., 0])


def _ransac(problem: PnpProblem, b: int) -> Tensor | None:
    """OpenCV's RANSAC for pair `b`, or None where it finds nothing."""
    use = problem.weights[b] > 0
    points, pixels = problem.points[b][use].cpu().numpy(), problem.pixels[b][use].cpu().numpy()
    K = problem.K[b].cpu().numpy()
    threshold_px = float(EXPLAINED * K[0, 0])
    cv2.setRNGSeed(0)
    try:
        found, rotation, translation, _ = cv2.solvePnPRansac(
            points, pixels, K, np.zeros(4), reprojectionError=threshold_px, flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:  # OpenCV 5 raises where the points nearly coincide, which a bad network's may
        return None
    if not found:
        return None
    w, t = (torch.from_numpy(v[:, 0]).to(problem.points) for v in (rotation, translation))
    return rigid(so3_exp(w), t)

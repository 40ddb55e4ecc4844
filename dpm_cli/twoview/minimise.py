"""Batched robust Levenberg-Marquardt for problems of a few unknowns and thousands of residuals.

It knows nothing of cameras: a problem is a residual function and a retraction on a dict of state tensors. Every
problem of the batch has its own damping, noise scale and acceptance. Derivatives are forward differences, exact to
1e-6 in float64, which is the dtype expected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.robust import geman_mcclure, geman_mcclure_weight

State = dict[str, Tensor]
_STEP = 1e-6


@dataclass(frozen=True, eq=False)
class Fit:
    """The state at the minimum and what is known about it."""

    state: State
    noise: Tensor
    """(B,) robust standard deviation of one residual component, in the residual's unit."""
    covariance: Tensor
    """(B, D, D) of the retraction's coordinates, as if the residuals were independent."""
    residuals: Tensor
    """(B, M, C) at the minimum."""


def noise_scale(residuals: Tensor, weights: Tensor, floor: float) -> Tensor:
    """Standard deviation (B,) of residuals (B, M, C) with weight > 0, from the 30 % quantile of their size.

    That quantile is 0.3853 sigma for one component and 0.8446 sigma for two (Rayleigh); unlike the median it is not
    moved by a large mover, and it draws the minimisation to the motion most matches agree on exactly.
    """
    size = residuals.norm(dim=-1).masked_fill(weights <= 0, torch.inf).sort(dim=-1).values
    rank = ((weights > 0).sum(-1, keepdim=True) * 0.3).long()
    quantile = size.gather(1, rank)[:, 0].nan_to_num(floor, posinf=floor)
    return (quantile / (0.3853 if residuals.shape[-1] == 1 else 0.8446)).clamp_min(floor)


def costs(residuals: Tensor, scale: Tensor) -> Tensor:
    """Cost (B, M) of residuals (B, M, C): saturates at 1 for residuals beyond `scale` (B,)."""
    return geman_mcclure(_squares(residuals, scale))


def minimise(
    residual: Callable[[State], Tensor],
    retract: Callable[[State, Tensor], State],
    start: State,
    unknowns: int,
    weights: Tensor,
    *,
    iterations: int = 12,
    floor: float = 0.02,
    width: float = 3.0,
    prior: Callable[[State], Tensor] | None = None,
    correlated: Tensor | float = 1.0,
) -> Fit:
    """Minimise sum_m weights * GM(residual / (width * noise)) per problem.

    `residual(state)` is (B, M, C) and `retract(state, delta (B, D))` moves the state; `weights` is (B, M). The noise
    is estimated anew at each iteration, never below `floor`. `prior(state)` (B, P) is what is known beforehand, in
    standard deviations; it counts as much as `correlated` residuals (a number or (B,)), for so many share one error.
    """
    state = start
    r = residual(state)
    believe = prior or (lambda s: r.new_zeros(len(r), 1))
    p = believe(state)
    damping = torch.full_like(r[:, 0, 0], 1e-3)
    basis = torch.eye(unknowns, dtype=r.dtype, device=r.device)
    hessian = basis.expand(len(r), -1, -1)
    for _ in range(iterations):
        scale = width * noise_scale(r, weights, floor)
        nearby = [retract(state, _STEP * b.expand(len(r), -1)) for b in basis]
        J = torch.stack([residual(n) - r for n in nearby], -1) / _STEP
        Jp = torch.stack([believe(n) - p for n in nearby], -1) / _STEP
        w = geman_mcclure_weight(_squares(r, scale), weights)[..., None, None]
        hessian = (w * J).flatten(1, 2).mT @ J.flatten(1, 2)
        gradient = ((w * J).flatten(1, 2).mT @ r.flatten(1)[..., None])[..., 0]
        # One standard deviation of the prior weighs as one of the noise does, which is scale / width.
        share = (correlated * (scale / width).square())[:, None, None]
        hessian = hessian + share * (Jp.mT @ Jp)
        gradient = gradient + (share * (Jp.mT @ p[..., None]))[..., 0]
        ridge = torch.diag_embed(hessian.diagonal(dim1=1, dim2=2).clamp_min(1e-12))
        delta = -torch.linalg.solve(hessian + damping[:, None, None] * ridge, gradient)
        trial = retract(state, delta)
        r_trial, p_trial = residual(trial), believe(trial)
        fall = (weights * (costs(r, scale) - costs(r_trial, scale))).sum(-1)
        fall = fall + correlated / width**2 * (p.square() - p_trial.square()).sum(-1)
        gain = fall > 0
        state = {k: _select(gain, trial[k], state[k]) for k in state}
        r, p = _select(gain, r_trial, r), _select(gain, p_trial, p)
        damping = torch.where(gain, damping / 4, damping * 8).clamp(1e-9, 1e6)
    noise = noise_scale(r, weights, floor)
    ridge = torch.diag_embed(hessian.diagonal(dim1=1, dim2=2).clamp_min(1e-12))
    covariance = torch.linalg.inv(hessian + 1e-9 * ridge) * noise[:, None, None].square()
    return Fit(state, noise, covariance, r)


def _squares(residuals: Tensor, scale: Tensor) -> Tensor:
    """Squared length (B, M) of residuals (B, M, C) in units of `scale` (B,)."""
    return residuals.square().sum(-1) / scale[:, None].square()


def _select(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (yes.ndim - 1)), yes, no)

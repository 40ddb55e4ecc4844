"""A depth prior as the mini network is told it: in camera 1, aligned with what parallax knows of the pair.

A prior knows inverse depth up to a scale and a shift, each view in its own camera. Both are found here by ridge
regression against depth by parallax, robustly: where nothing is clear they stay what they are expected to be.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpm_cli.geometry.rigid import so3_exp
from dpm_cli.network.mini.parallax import CameraHint, clearness
from dpm_cli.network.mini.warp import normalised_grid

TOLD_CHANNELS = 6
_LEAST, _MOST = 0.03, 20.0
"""Inverse depths that are told, in units of the inverse median depth."""
_ALIKE = 1500.0
"""Pixels that share one error."""
_SCALE_SIGMA, _SHIFT_SIGMA = 0.5, 0.05
"""Expected of scale and shift, in medians of the prior."""
_PRIOR_ERROR = 0.15
"""Of a prior, relative: parallax that is surer than this counts no more."""
_ROUNDS = 4
_WIDTH = 3.0
"""Deviations at which parallax counts half."""
_FAR = 2.0
"""Log depth between parallax and prior that is told at most."""


@dataclass(frozen=True, eq=False)
class Told:
    """A prior of B pairs, in units of the median depth where parallax is clear."""

    log_depth: Tensor
    """(B, 2, H, W) in camera 1; 0 where it knows nothing."""
    valid: Tensor
    """(B, 2, H, W) 0 or 1."""
    planes: Tensor
    """(2 B, 6, H, W) validity, log depth, inverse depth, log spread about parallax, log of how much parallax knew, and
    parallax minus prior where that is clear."""


@torch.no_grad()
def align_prior(
    inverse_depth: Tensor, hint: CameraHint, agree: Tensor, pose: Tensor, focal: Tensor
) -> Told:
    """Bring a prior to camera 1 and to the scale of parallax.

    Args:
        inverse_depth: (B, 2, H, W) up to scale and shift, each view in its own camera; 0 = not known.
        hint: depth by parallax.
        agree: (B, 2, H, W) 0..1, how well the flow agrees with its inverse.
        pose: (B, 6) guess of camera 2 from camera 1.
        focal: (B,) in half diagonals.
    """
    valid = inverse_depth > 0
    typical = inverse_depth.masked_fill(~valid, torch.nan).flatten(1).nanmedian(1).values
    q = inverse_depth / typical.nan_to_num(1.0)[:, None, None, None]
    q = torch.stack((q[:, 0], _in_first(q[:, 1], pose, focal)), 1).clamp(_LEAST, _MOST)
    rho, spread = hint.hint[:, :, 1], hint.hint[:, :, 2].exp()
    known = valid * agree * (rho > 0) / (spread.square() + (_PRIOR_ERROR * rho).square() + 1e-3)
    scale, shift, off, total = _ridge(q.flatten(1), rho.flatten(1), known.flatten(1) / _ALIKE)
    aligned = (scale[:, None, None, None] * q + shift[:, None, None, None]).clamp(_LEAST, _MOST)
    log_depth = -aligned.log() * valid
    clear = agree * clearness(rho, spread)
    apart = (-rho.clamp_min(_LEAST).log() - log_depth).clamp(-_FAR, _FAR) * clear * valid
    whole = [v[:, None, None, None].expand_as(aligned) * valid for v in (off, total)]
    planes = torch.stack((valid.float(), log_depth, aligned * valid, *whole, apart), 2)
    return Told(log_depth, valid.float(), planes.clamp(-10, 10).flatten(0, 1))


def _in_first(inverse_depth: Tensor, pose: Tensor, focal: Tensor) -> Tensor:
    """Inverse depth in camera 1 of what view 2 sees at `inverse_depth` (B, H, W) in camera 2."""
    grid = normalised_grid(*inverse_depth.shape[1:], like=inverse_depth)
    column = so3_exp(pose[:, :3])[:, :, 2]  # third row of the inverse rotation
    f = focal[:, None, None]
    turn = column[:, 0, None, None] * grid[..., 0] / f + column[:, 1, None, None] * grid[..., 1] / f
    turn = turn + column[:, 2, None, None]
    forward = (column * pose[:, 3:]).sum(1)[:, None, None]
    return inverse_depth / (turn - forward * inverse_depth).clamp_min(0.05)


def _ridge(q: Tensor, rho: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scale and shift (B,) of q (B, N) to rho (B, N), log of the relative spread about them, log information.

    Parallax that is worse than it says, as residuals show, is believed less.
    """
    one = torch.ones_like(q[:, 0])
    scale, shift, robust, doubt = one, 0 * one, weight, one[:, None]
    for _ in range(_ROUNDS):
        w = robust / doubt
        qq = (w * q * q).sum(1) + _SCALE_SIGMA**-2
        ones, cross = w.sum(1) + _SHIFT_SIGMA**-2, (w * q).sum(1)
        right = (w * q * rho).sum(1) + _SCALE_SIGMA**-2
        plain = (w * rho).sum(1)
        det = qq * ones - cross.square()
        scale = ((right * ones - plain * cross) / det).clamp(0.1, 10.0)
        shift = ((plain - scale * cross) / ones).clamp(-1.0, 1.0)
        off = (rho - scale[:, None] * q - shift[:, None]).square() * weight * _ALIKE
        doubt = ((off * weight).sum(1) / weight.sum(1).clamp_min(1e-6)).clamp_min(1.0)[:, None]
        robust = weight / (1 + off / (_WIDTH**2 * doubt))
    total = weight.sum(1) / doubt[:, 0]
    error = (rho - scale[:, None] * q - shift[:, None]).abs() / rho.clamp_min(0.05)
    spread = (error.clamp_max(2.0) * weight).sum(1) / weight.sum(1).clamp_min(1e-6)
    spread = torch.where(total > 1e-3, spread, one)
    return scale, shift, (spread + 1e-2).log(), (total + 1e-2).log()

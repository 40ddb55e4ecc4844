"""What a match says along its epipolar line: the one equation that is linear in inverse depth.

A point with ray r (z = 1) and inverse depth rho in one camera is seen at u (normalised, z = 1) in another that takes r
to a = R r and lies at t: u = (a_xy + rho t_xy) / (a_z + rho t_z), or, multiplied out, rho * along = shift with
along = t_xy - u t_z and shift = u a_z - a_xy. `along` points along the epipolar line.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LineTerms:
    """Of matches (...)."""

    along: Tensor
    """(..., 2)."""
    shift: Tensor
    """(..., 2)."""

    def inverse_depth(self, least: float) -> tuple[Tensor, Tensor]:
        """Least squares solution (...) in units of 1 / |t|, and the squared length of `along`, at least `least`.

        One pixel of error along the line changes it by one pixel over the length.
        """
        length2 = self.along.square().sum(-1).clamp_min(least)
        return (self.along * self.shift).sum(-1) / length2, length2

    def across(self) -> Tensor:
        """What no depth explains (...): the part of `shift` across the line times the length of `along`."""
        (px, py), (qx, qy) = self.shift.unbind(-1), self.along.unbind(-1)
        return px * qy - py * qx


def line_terms(turned: Tensor, target: Tensor, t: Tensor) -> LineTerms:
    """Terms of rays already turned into the other camera.

    Args:
        turned: (..., 3) R times the ray with z = 1.
        target: (..., 2) where the match is seen in the other camera, normalised.
        t: (..., 3) position of the first camera in the other, broadcast over the matches.
    """
    along = t[..., :2] - target * t[..., 2:]
    shift = target * turned[..., 2:] - turned[..., :2]
    return LineTerms(along, shift)


def variance_along(direction: Tensor, covariance: Tensor) -> Tensor:
    """d^T C d (...) of directions d (..., 2) and covariances C (..., 3) = xx, xy, yy."""
    x, y = direction.unbind(-1)
    xx, xy, yy = covariance.unbind(-1)
    return x * x * xx + 2 * x * y * xy + y * y * yy


def with_z(xy: Tensor) -> Tensor:
    """Rays (..., 3) with z = 1 of normalised coordinates (..., 2)."""
    return torch.cat((xy, torch.ones_like(xy[..., :1])), -1)

"""How deep a scene is likely to be and where it is near, which tells apart poses that the flow cannot.

A little flow in a narrow view is explained almost as well by a larger turn and a larger step that cancel it: the depths
then differ by a constant added to every inverse depth (bas-relief ambiguity; Belhumeur, Kriegman and Yuille, IJCV
1999; for motion: Daniilidis and Noetel 1990). Such a scene is nearly flat and faces the camera, which scenes seldom
do; or it is turned inside out, its top near and its bottom far.
"""

import torch
from torch import Tensor

from dpm_cli.twoview.lines import line_terms, variance_along
from dpm_cli.twoview.matches import Matches, both_ways, directions

RELIEF = 0.4
"""Standard deviation of inverse depth over its mean. 0.43 and 0.27 in the measured depth of a street and of rooms, 0.54
in another room, 0.4 on rendered scenes."""
RELIEF_SPREAD = 0.45
"""Deviation of its logarithm: 0.31 over all of these, and half as much again for other scenes."""
SLOPE = 0.6
"""Correlation of inverse depth with the row: what is lower in the picture is nearer. 0.64 on the mean of the same
pictures, measured and rendered alike, and 0.2 at least."""
SLOPE_SPREAD = 0.3
"""Its deviation: 0.19 over all of these, and half as much again."""
_THIN = 8


def surprise(rotation: Tensor, translation: Tensor, matches: Matches, focal_px: Tensor) -> Tensor:
    """Log relief and slope (B, 2) against the expected ones, in standard deviations; 0 where noise hides them.

    The observed numbers are compared with what scene and noise make together, so noise pulls to neither side.
    """
    few = matches.thin(_THIN)
    rho, sigma = inverse_depths(rotation, translation, few, focal_px)
    used = few.weight.flatten(1)
    middle = rho.masked_fill(used <= 0, torch.nan).nanmedian(dim=1, keepdim=True).values
    middle = middle.nan_to_num(1.0)
    middle = torch.where(middle < 0, -1.0, 1.0) * middle.abs().clamp_min(1e-9)
    weight = used * middle.square() / (sigma.square() + (RELIEF * middle).square())
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-9)
    relative = (rho / middle).clamp(-2, 5)
    row = few.source[..., 1].flatten(1)
    mean = (weight * relative).sum(1, keepdim=True)
    off, height = relative - mean, row - (weight * row).sum(1, keepdim=True)
    variance = (weight * off.square()).sum(1) + 1e-6
    noise = (weight * (sigma / middle).square().clamp_max(9)).sum(1)
    signal = (RELIEF * mean[:, 0]).square() + 1e-6
    size = (variance * (weight * height.square()).sum(1)).clamp_min(1e-9).sqrt()
    slope = (weight * off * height).sum(1) / size
    seen = (signal / (signal + noise)).sqrt()
    relief = 0.5 * (variance / (signal + noise)).log() / RELIEF_SPREAD
    return torch.stack((relief, (slope - SLOPE * seen) / SLOPE_SPREAD), 1)


def inverse_depths(
    rotation: Tensor, translation: Tensor, matches: Matches, focal_px: Tensor
) -> tuple[Tensor, Tensor]:
    """Inverse depth (B, 2 M) of every match along its epipolar line and its standard deviation, 1 / baseline."""
    R, t = both_ways(rotation, translation)
    turned = directions(matches.source, focal_px) @ R.mT
    focal = focal_px[:, None, None]
    target = matches.target / focal[..., None]
    terms = line_terms(turned, target, t[:, :, None])
    rho, length2 = terms.inverse_depth(1e-12)
    variance = variance_along(terms.along, matches.covariance) / length2
    return rho.flatten(1), (variance / length2).sqrt().flatten(1) / focal_px[:, None]

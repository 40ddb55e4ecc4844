"""Relative pose from matches by their distance to epipolar lines, whitened by each match's own covariance.

A match is a pixel of one image and the place its flow points to in the other; only the latter is noisy, so the residual
is the one-sided distance. Both flow directions are used with the roles of the images swapped, which makes the result
symmetric. The translation is a unit vector: its length cannot be known from two views (Hartley and Zisserman, 9.6).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dpm_cli.geometry import rigid
from dpm_cli.twoview import minimise
from dpm_cli.twoview.lines import line_terms, variance_along
from dpm_cli.twoview.matches import Matches, both_ways, directions

_BEHIND = 3.0
"""Deviations behind the camera that are more than noise."""


def distances(rotation: Tensor, translation: Tensor, matches: Matches, focal_px: Tensor) -> Tensor:
    """Signed, whitened distance (B, 2 M, 1) of every target from its epipolar line, in standard deviations."""
    R, t = both_ways(rotation, translation)
    turned = directions(matches.source, focal_px) @ R.mT
    normal = torch.linalg.cross(t[:, :, None].expand_as(turned), turned)
    target = directions(matches.target, focal_px)
    variance = variance_along(normal[..., :2], matches.covariance)
    size = (variance + 1e-18).sqrt() / focal_px[:, None, None]
    return ((target * normal).sum(-1) / size).flatten(1)[..., None]


def retract(state: minimise.State, delta: Tensor) -> minimise.State:
    """Move rotation by delta[:, :3] (left) and the unit translation by delta[:, 3:5] in its tangent plane."""
    t = state["translation"]
    helper = torch.eye(3, dtype=t.dtype, device=t.device)[t.abs().argmin(-1)]
    a = torch.nn.functional.normalize(torch.linalg.cross(t, helper), dim=-1)
    b = torch.linalg.cross(t, a)
    moved = torch.nn.functional.normalize(t + delta[:, 3:4] * a + delta[:, 4:5] * b, dim=-1)
    return {"rotation": rigid.so3_exp(delta[:, :3]) @ state["rotation"], "translation": moved}


def refine(
    rotation: Tensor,
    translation: Tensor,
    matches: Matches,
    focal_px: Tensor,
    *,
    iterations: int = 12,
    prior: Callable[[Tensor, Tensor], Tensor] | None = None,
    correlated: Tensor | float = 1.0,
    width: float = 3.0,
) -> minimise.Fit:
    """Robust pose from a start (B, 3, 3), (B, 3); state keys rotation, translation.

    `prior(rotation, translation)` (B, P), `correlated` and `width` are as in `minimise.minimise`.
    """
    start = {"rotation": rotation, "translation": translation}
    return minimise.minimise(
        lambda s: distances(s["rotation"], s["translation"], matches, focal_px),
        retract,
        start,
        5,
        matches.weight.flatten(1),
        iterations=iterations,
        floor=0.2,
        width=width,
        prior=prior and (lambda s: prior(s["rotation"], s["translation"])),
        correlated=correlated,
    )


def facing(rotation: Tensor, translation: Tensor, matches: Matches, focal_px: Tensor) -> Tensor:
    """Evidence (B,) in [-1, 1] that points lie in front of the cameras: mean sign of inverse depth, weighted.

    A point whose parallax is below its noise says nothing, hence the saturating weight. Negative: flip the translation.
    """
    parallax_px, sigma = _parallax(rotation, translation, matches, focal_px)
    vote = matches.weight * torch.tanh(parallax_px / (2 * sigma))
    return vote.flatten(1).sum(1) / matches.weight.flatten(1).sum(1).clamp_min(1e-9)


def behind(rotation: Tensor, translation: Tensor, matches: Matches, focal_px: Tensor) -> Tensor:
    """Matches (B, 2 M) that would lie behind the cameras by more than noise, whichever sign the translation has.

    No camera sees such a point. A turn at the wrong focal length, explained as a step, puts half of them there.
    """
    parallax_px, sigma = _parallax(rotation, translation, matches, focal_px)
    sign = torch.where(facing(rotation, translation, matches, focal_px) < 0, -1.0, 1.0)
    return (parallax_px * sign[:, None, None] < -_BEHIND * sigma).flatten(1)


def _parallax(
    rotation: Tensor, translation: Tensor, matches: Matches, focal_px: Tensor
) -> tuple[Tensor, Tensor]:
    """Pixels (B, 2, M) along the epipolar lines, positive before the cameras, and their standard deviations."""
    R, t = both_ways(rotation, translation)
    turned = directions(matches.source, focal_px) @ R.mT
    focal = focal_px[:, None, None, None]
    target = matches.target / focal
    terms = line_terms(turned, target, t[:, :, None])
    along = terms.along / terms.along.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    parallax_px = (terms.shift * along * focal).sum(-1)
    return parallax_px, variance_along(along, matches.covariance).sqrt()

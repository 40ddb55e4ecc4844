"""Where movers are and how they go, under two stated assumptions, because two views cannot know it.

Contact: a mover is as far as the static thing under its lower edge, on which it is taken to stand.
Minimal motion: at the other time its point is, on the ray where the flow found it, the place nearest to where it was.
"""

import torch
from torch import Tensor


def contact_links(right: Tensor, down: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """Links (N, H, W) that let depth flow into movers (N, H, W bool) only through their lower edge.

    Inside a mover links are whole; across its sides and its top they are cut.
    """
    side = torch.zeros_like(moving)
    below = torch.zeros_like(moving)
    side[:, :, :-1] = moving[:, :, 1:]
    below[:, :-1] = moving[:, 1:]
    cut = 1e-4
    right = torch.where(moving & side, 1.0, torch.where(moving ^ side, cut, right))
    down = torch.where(moving, 1.0, torch.where(below, cut, down))
    right[:, :, -1] = 0
    down[:, -1] = 0
    return right, down


def nearest_on_ray(points: Tensor, centre: Tensor, directions: Tensor) -> Tensor:
    """The point (N, H, W, 3) of each ray closest to `points` (N, H, W, 3), never behind the ray's camera.

    Rays start at `centre` (N, 3) and go along `directions` (N, H, W, 3).
    """
    centre = centre[:, None, None]
    length2 = directions.square().sum(-1)
    along = ((points - centre) * directions).sum(-1) / length2
    nearest = (points - centre).norm(dim=-1) / length2.sqrt()
    return centre + torch.maximum(along, 0.1 * nearest)[..., None] * directions

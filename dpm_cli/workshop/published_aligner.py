"""The published way to align pairs: Adam over every pixel of every image (Wang et al., DUSt3R, CVPR 2024, section 3.3).

Unknowns are a depth map, a camera and a focal length an image, and a pose with a scale a directed pair. The cost is the
distance, weighted by the logarithm of the confidence, between each pair's points and the images' own. Here to be timed.
"""

import time

import torch
from torch import Tensor, nn

from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.geometry.rigid import rigid, so3_exp, transform

STEPS = 300
"""Of the published optimisation."""
_RATE = 0.01
_BETAS = (0.9, 0.9)


class PublishedAligner(nn.Module):
    """The unknowns of T images and E directed pairs, and the cost."""

    def __init__(self, pairs: Tensor, points: Tensor, confidence: Tensor):
        """Start from the identity and depth 1.

        Args:
            pairs: (E, 2) int64 images of each directed pair.
            points: (E, 2, H, W, 3) of both images in the frame of the first.
            confidence: (E, 2, H, W).
        """
        super().__init__()
        count, (height, width) = int(pairs.max()) + 1, points.shape[2:4]
        self.pairs, self.points = pairs, points
        self.weight = confidence.log1p()
        centre = points.new_tensor(((width - 1) / 2, (height - 1) / 2))
        self.pixels = pixel_grid(height, width, device=points.device) - centre
        self.log_depth = nn.Parameter(points.new_zeros(count, height, width))
        self.log_focal = nn.Parameter(points.new_zeros(count))
        self.focal_px = float(max(height, width))
        self.image_twist = nn.Parameter(points.new_zeros(count, 6))
        self.pair_twist = nn.Parameter(points.new_zeros(len(pairs), 6))
        self.log_scale = nn.Parameter(points.new_zeros(len(pairs)))

    def forward(self) -> Tensor:
        """The cost, a scalar."""
        focal = self.focal_px * self.log_focal.exp()[:, None, None, None]
        rays = torch.cat((self.pixels / focal, torch.ones_like(self.log_depth)[..., None]), -1)
        world = _moved(self.image_twist, rays * self.log_depth.exp()[..., None])
        # Their mean is fixed, else all lengths would shrink to nothing.
        scale = (self.log_scale - self.log_scale.mean()).exp() / 2
        told = _moved(self.pair_twist, self.points * scale[:, None, None, None, None])
        return (self.weight * (told - world[self.pairs]).norm(dim=-1)).mean()


def _moved(twist: Tensor, points: Tensor) -> Tensor:
    """Points (N, ..., 3) after N rigid motions (N, 6): translation, rotation vector."""
    motion = rigid(so3_exp(twist[:, 3:]), twist[:, :3])
    return transform(motion, points.flatten(1, -2)).view_as(points)


def seconds_a_step(aligner: PublishedAligner, steps: int) -> float:
    """Mean time of one step of Adam over `steps`, after one that is not counted."""
    optimiser = torch.optim.Adam(aligner.parameters(), lr=_RATE, betas=_BETAS)
    began = 0.0
    for step in range(steps + 1):
        if step == 1:
            _wait(aligner.points.device)
            began = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        aligner().backward()
        optimiser.step()
    _wait(aligner.points.device)
    return (time.perf_counter() - began) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

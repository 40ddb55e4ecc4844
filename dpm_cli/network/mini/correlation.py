"""Matching learnt by the network itself: how alike the two images' features are around where DIS says the match is.

Features of one view at 1/4 are compared with all of the other view at 1/8, and a small window around the given match is
read from the result (Teed and Deng, ECCV 2020). DIS is right about most pixels and grossly wrong about some; the window
reaches 8 * REACH pixels to each side, so that the network can see a better match than the given one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.mini.layers import ResidualBlock
from dpm_cli.network.mini.warp import half_diagonal, swap_views

REACH = 3
"""Cells to each side of the match."""
CHANNELS = (2 * REACH + 1) ** 2


class Correlation(nn.Module):
    """Features of each image alone, and what comparing them says."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.stem = nn.Conv2d(3 * 16, channels, 3, padding=1)
        self.block = ResidualBlock(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.read = nn.Conv2d(CHANNELS, out, 1)
        for parameter in self.read.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """Evidence (2 B, out, H / 4, W / 4).

        Args:
            images: (2 B, 3, H, W) in [0, 1], pair by pair.
            target: (2 B, H / 4, W / 4, 2) normalised coordinates of the match in the other view.
        """
        small = F.pixel_unshuffle(images * 2 - 1, 4).contiguous(memory_format=torch.channels_last)
        own = F.gelu(self.block(self.stem(small)))
        return self.read(_window(self.query(own), swap_views(self.key(own)), target))


def _window(own: Tensor, other: Tensor, target: Tensor) -> Tensor:
    """Similarity (N, (2 REACH + 1)^2, h, w) of features (N, C, h, w) to `other` (N, C, h', w') around the target."""
    count, channels, height, width = own.shape
    rows, columns = other.shape[2:]
    alike = own.flatten(2).transpose(1, 2) @ other.flatten(2) * channels**-0.5
    unit = half_diagonal(height, width) * torch.tensor(
        (columns / width, rows / height), device=own.device
    )
    middle = torch.tensor(((columns - 1) / 2, (rows - 1) / 2), device=own.device)
    cell = target * unit + middle
    step = torch.arange(-REACH, REACH + 1, device=own.device, dtype=torch.float32)
    dy, dx = torch.meshgrid(step, step, indexing="ij")
    places = cell.flatten(1, 2)[:, :, None] + torch.stack((dx, dy), -1).flatten(0, 1)
    # A far match must not overflow half precision; outside the image similarity is zero.
    places = (places / middle.clamp_min(0.5) - 1).clamp(-4, 4).flatten(0, 1)[:, None]
    maps = alike.reshape(count * height * width, 1, rows, columns).float()
    found = F.grid_sample(maps, places, align_corners=True)
    return found.reshape(count, height, width, -1).permute(0, 3, 1, 2)

"""MoGe-2's convolution stacks: five maps from the token grid to sixteen times it, each fed from outside.

Every 3x3 convolution repeats the border instead of padding with zeros.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv3x3(channels: int, out: int) -> nn.Conv2d:
    """Size-preserving 3x3 convolution that repeats the border."""
    return nn.Conv2d(channels, out, 3, padding=1, padding_mode="replicate")


class PyramidBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))); the empty places are norms that no released size has."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Identity(),
            nn.ReLU(),
            conv3x3(channels, channels),
            nn.Identity(),
            nn.ReLU(),
            conv3x3(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w)."""
        return x + self.layers(x)


def doubling(channels: int, out: int, learnt: bool) -> nn.Sequential:
    """To twice the size: a transposed convolution or bilinear interpolation, then a 3x3 convolution."""
    if learnt:
        return nn.Sequential(nn.ConvTranspose2d(channels, out, 2, 2), conv3x3(out, out))
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), conv3x3(channels, out)
    )


class Pyramid(nn.Module):
    """x_k = blocks(double(x_{k-1}) + input_k), from coarse to fine."""

    def __init__(
        self,
        inputs: Sequence[int],
        levels: Sequence[int],
        blocks: Sequence[int],
        out: int | None = None,
    ):
        """`inputs`, `levels`: channels of what is added and of the maps; `out`: of the last map's output, if any."""
        super().__init__()
        self.input_blocks = nn.ModuleList(
            nn.Conv2d(given, own, 1) for given, own in zip(inputs, levels, strict=True)
        )
        self.res_blocks = nn.ModuleList(
            nn.Sequential(*(PyramidBlock(own) for _ in range(count)))
            for own, count in zip(levels, blocks, strict=True)
        )
        last = nn.Identity() if out is None else nn.Conv2d(levels[-1], out, 1)
        self.output_blocks = nn.ModuleList([*(nn.Identity() for _ in levels[1:]), last])
        self.resamplers = nn.ModuleList(
            doubling(levels[k], levels[k + 1], learnt=k + 2 < len(levels))
            for k in range(len(levels) - 1)
        )

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C_k, h_k, w_k) of inputs of the same sizes."""
        maps: list[Tensor] = []
        for k, given in enumerate(inputs):
            x = self.input_blocks[k](given)
            if maps:
                x = x + self.resamplers[k - 1](maps[-1])
            maps.append(self.res_blocks[k](x))
        maps[-1] = self.output_blocks[-1](maps[-1])
        return maps


def view_plane(grid: tuple[int, int], aspect: float, device: torch.device) -> Tensor:
    """u, v (2, rows, columns) of cell centres; the image's half diagonal is 1 long.

    Args:
        grid: (rows, columns) of cells.
        aspect: width by height of the image, which that of the grid only comes near.
        device: of the result.
    """
    rows, columns = grid
    reach_v = (1 + aspect**2) ** -0.5
    u = torch.arange(columns, dtype=torch.float64).mul_(2).add_(1 - columns) / columns
    v = torch.arange(rows, dtype=torch.float64).mul_(2).add_(1 - rows) / rows
    u, v = u * aspect * reach_v, v * reach_v
    plane = torch.stack((u.expand(rows, columns), v[:, None].expand(rows, columns)))
    return plane.float().to(device)

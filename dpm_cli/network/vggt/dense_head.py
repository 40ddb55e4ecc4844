"""VGGT's DPT head: hooked aggregator layers to a dense map per frame.

Against CroCo's: one shared LayerNorm, a fixed position code added to every level and to the last map, a residual
ReLU that works in place, and explicit target sizes when fusing.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from dpm_cli.network.dpt import fusion_stages
from dpm_cli.network.refine import conv3x3, resize
from dpm_cli.network.vggt.aggregator import EPS
from dpm_cli.network.vggt.config import MultiViewConfig

LAST_CHANNELS = 32


@lru_cache(maxsize=32)
def position_code(
    channels: int, cells: tuple[int, int], image: tuple[int, int], device: torch.device
) -> Tensor:
    """Sines and cosines (channels, h, w) of cell centres, the image's diagonal being 2 long, times 0.1."""
    height, width = image
    diagonal = (height**2 + width**2) ** 0.5
    omega = 100.0 ** -(torch.arange(channels // 4, dtype=torch.float64) / (channels // 4))

    def axis(side: int, count: int) -> Tensor:
        reach = side / diagonal * (count - 1) / count
        angles = torch.linspace(-reach, reach, count, dtype=torch.float64) * omega[:, None]
        return torch.cat((angles.sin(), angles.cos()))

    with torch.inference_mode(False), torch.no_grad():
        rows, columns = cells
        x = axis(width, columns)[:, None, :].expand(-1, rows, -1)
        y = axis(height, rows)[:, :, None].expand(-1, -1, columns)
        return (0.1 * torch.cat((x, y))).float().to(device)


class DenseHead(nn.Module):
    """Four layers of tokens to `out_channels` maps at image size."""

    def __init__(self, config: MultiViewConfig, out_channels: int):
        super().__init__()
        self.patch = config.patch_size
        width, features = 2 * config.width, config.dpt_features
        one, two, _, four = config.dpt_levels
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.projects = nn.ModuleList(nn.Conv2d(width, count, 1) for count in config.dpt_levels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(one, one, 4, 4),
                nn.ConvTranspose2d(two, two, 2, 2),
                nn.Identity(),
                nn.Conv2d(four, four, 3, stride=2, padding=1),
            ]
        )
        self.scratch = fusion_stages(config.dpt_levels, features, relu_skip=True)
        self.scratch["output_conv1"] = conv3x3(features, features // 2)
        self.scratch["output_conv2"] = nn.Sequential(
            conv3x3(features // 2, LAST_CHANNELS),
            nn.ReLU(),
            nn.Conv2d(LAST_CHANNELS, out_channels, 1),
        )

    def pyramid(self, tokens: Sequence[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """Four maps (B, features, ...) of patch tokens (B, rows * columns, C)."""
        image = (grid[0] * self.patch, grid[1] * self.patch)
        levels = []
        for k, (t, project, scale) in enumerate(
            zip(tokens, self.projects, self.resize_layers, strict=True), start=1
        ):
            x = project(self.norm(t).transpose(1, 2).unflatten(2, grid))
            x = scale(x + position_code(x.shape[1], grid, image, x.device))
            levels.append(self.scratch[f"layer{k}_rn"](x))
        return levels

    def refine(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Outputs of the four fusions, from coarse to fine; each has the size of the next level."""
        fused: list[Tensor] = []
        for k in (4, 3, 2, 1):
            level = levels[k - 1]
            size = (
                tuple(levels[k - 2].shape[-2:]) if k > 1 else tuple(2 * s for s in level.shape[-2:])
            )
            coarser = fused[-1] if fused else None
            fused.append(self.scratch[f"refinenet{k}"](level, coarser, (size[0], size[1])))
        return fused

    def forward(self, tokens: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Raw channels (B, out_channels, H, W) of four patch tokens (B, rows * columns, C)."""
        image = (grid[0] * self.patch, grid[1] * self.patch)
        x = self.scratch["output_conv1"](self.refine(self.pyramid(tokens, grid))[-1])
        x = resize(x, image)
        return self.scratch["output_conv2"](x + position_code(x.shape[1], image, image, x.device))

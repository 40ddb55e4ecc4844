"""RefineNet stages of the DPT heads: residual units and fusion from coarse to fine.

The two families differ in one trap: VGGT's ReLU works in place, so its residual units add relu(x) where
CroCo's add x.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(channels: int, out: int, bias: bool = True) -> nn.Conv2d:
    """Size-preserving 3x3 convolution."""
    return nn.Conv2d(channels, out, 3, padding=1, bias=bias)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with aligned corners, as both families trained."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """skip + conv2(relu(conv1(relu(x)))); the skip is relu(x) if `relu_skip`, else x."""

    def __init__(self, channels: int, relu_skip: bool):
        super().__init__()
        self.relu_skip = relu_skip
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w)."""
        active = F.relu(x)
        return (active if self.relu_skip else x) + self.conv2(F.relu(self.conv1(active)))


class Fusion(nn.Module):
    """Adds one level to the coarser result and brings it to the next finer size."""

    def __init__(self, channels: int, relu_skip: bool, coarsest: bool = False):
        super().__init__()
        if not coarsest:
            self.resConfUnit1 = ResidualUnit(channels, relu_skip)
        self.resConfUnit2 = ResidualUnit(channels, relu_skip)
        self.out_conv = nn.Conv2d(channels, channels, 1)

    def forward(self, level: Tensor, coarser: Tensor | None, size: tuple[int, int]) -> Tensor:
        """`level` (B, C, h, w) fused with `coarser` (B, C, h, w), resized to `size`."""
        x = level if coarser is None else coarser + self.resConfUnit1(level)
        # A 1x1 convolution commutes with the interpolation (its weights sum to one): a quarter of the work before.
        return resize(self.out_conv(self.resConfUnit2(x)), size)

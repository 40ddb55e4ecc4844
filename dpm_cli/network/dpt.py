"""DPT head of CroCo v2 and DUSt3R: four levels of tokens to a dense map (reference: Ranftl et al. 2021).

The hooked tokens become maps at 1/4, 1/8, 1/16 and 1/32 of the image (patch 16) and are fused from coarse to
fine. Names of the parameters are those of the public files.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.refine import Fusion, conv3x3, resize


def fusion_stages(channels: Sequence[int], features: int, relu_skip: bool) -> nn.ModuleDict:
    """`layer1_rn` to `layer4_rn` bring the levels to one width, `refinenet1` to `refinenet4` fuse them."""
    stages = nn.ModuleDict()
    for level, count in enumerate(channels, start=1):
        stages[f"layer{level}_rn"] = conv3x3(count, features, bias=False)
        stages[f"refinenet{level}"] = Fusion(features, relu_skip, coarsest=level == 4)
    return stages


class DptHead(nn.Module):
    """Tokens of four depths, the first of the encoder's width, to `out_channels` maps at image size."""

    def __init__(
        self,
        token_widths: Sequence[int],
        level_channels: Sequence[int],
        features: int,
        last: int,
        out_channels: int = 4,
    ):
        super().__init__()
        one, two, three, four = level_channels
        self.act_postprocess = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(token_widths[0], one, 1), nn.ConvTranspose2d(one, one, 4, 4)
                ),
                nn.Sequential(
                    nn.Conv2d(token_widths[1], two, 1), nn.ConvTranspose2d(two, two, 2, 2)
                ),
                nn.Sequential(nn.Conv2d(token_widths[2], three, 1)),
                nn.Sequential(
                    nn.Conv2d(token_widths[3], four, 1),
                    nn.Conv2d(four, four, 3, stride=2, padding=1),
                ),
            ]
        )
        self.scratch = fusion_stages(level_channels, features, relu_skip=False)
        # Indices 1 and 3 are the interpolation and the ReLU, which have no parameters.
        self.head = nn.ModuleDict(
            {
                "0": conv3x3(features, last),
                "2": conv3x3(last, last),
                "4": nn.Conv2d(last, out_channels, 1),
            }
        )

    def pyramid(self, tokens: Sequence[Tensor], grid: tuple[int, int]) -> list[Tensor]:
        """Four maps (B, features, ...) from the hooked tokens (B, rows * columns, C)."""
        maps = [t.transpose(1, 2).unflatten(2, grid) for t in tokens]
        maps = [stage(m) for stage, m in zip(self.act_postprocess, maps, strict=True)]
        return [self.scratch[f"layer{k}_rn"](m) for k, m in enumerate(maps, start=1)]

    def refine(self, levels: Sequence[Tensor]) -> Tensor:
        """Fuse from coarse to fine; every stage doubles the size."""
        x = None
        for k in (4, 3, 2, 1):
            level = levels[k - 1]
            height, width = level.shape[-2:]
            x = self.scratch[f"refinenet{k}"](level, x, (2 * height, 2 * width))
            if k == 4:
                # With an odd number of patches the halved level doubles to one too many.
                x = x[..., : levels[2].shape[-2], : levels[2].shape[-1]]
        assert x is not None
        return x

    def forward(self, tokens: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Raw channels (B, out_channels, H, W) of hooked tokens (B, rows * columns, C)."""
        x = self.head["0"](self.refine(self.pyramid(tokens, grid)))
        x = resize(x, (2 * x.shape[-2], 2 * x.shape[-1]))
        return self.head["4"](F.relu(self.head["2"](x)))

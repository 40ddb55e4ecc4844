"""The pairwise dynamic point map network of the paper: DUSt3R with one more head per image.

    image 1 --+ shared +-- tokens 1 --> stream 1 --> heads p11, p12      P_1(t_1), P_1(t_2)
              | ViT    |                 |   ^  cross-attention
    image 2 --+        +-- tokens 2 --> stream 2 --> heads p21, p22      P_2(t_1), P_2(t_2)

Time is fixed by the head. All maps are in the frame of camera 1. With the heads p11 and p22 alone this is
DUSt3R's network (MonST3R's is the same), parameter for parameter, under the public names. The network knows no
files and no device strings; blocks run in the caller's precision, heads in float32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpm_cli.network.activation import confidence_exp, points_exp
from dpm_cli.network.attention import full_precision
from dpm_cli.network.croco import EPS, DecoderBlock, decode_streams
from dpm_cli.network.dpt import DptHead
from dpm_cli.network.linear_head import LinearHead
from dpm_cli.network.pair_config import ALL_MAPS, PairConfig
from dpm_cli.network.rope import grid_table
from dpm_cli.network.vit import Block, PatchEmbed


@dataclass(frozen=True, eq=False)
class PairMaps:
    """Raw answer of the network for B pairs."""

    points: Tensor
    """(B, 2, 2, H, W, 3) P_view(t_time) in camera 1's frame, scale free."""
    certainty: Tensor
    """(B, 2, 2, H, W) C of the confidence loss (paper eq. 2), at least 1."""


class PairNetwork(nn.Module):
    """Two images to four point maps: `encode` once per image, `decode` once per directed pair."""

    def __init__(self, config: PairConfig):
        super().__init__()
        self.config = config
        enc, dec = config.enc_width, config.dec_width
        self.patch_embed = PatchEmbed(enc, config.patch_size)
        self.enc_blocks = nn.ModuleList(
            Block(enc, config.enc_heads, eps=EPS) for _ in range(config.enc_depth)
        )
        self.enc_norm = nn.LayerNorm(enc, eps=EPS)
        self.decoder_embed = nn.Linear(enc, dec)
        self.dec_blocks = self._stream(config)
        self.dec_blocks2 = self._stream(config)
        self.dec_norm = nn.LayerNorm(dec, eps=EPS)
        self.heads = nn.ModuleDict({name: self._head(config) for name in config.maps})

    @staticmethod
    def _stream(config: PairConfig) -> nn.ModuleList:
        blocks = (DecoderBlock(config.dec_width, config.dec_heads) for _ in range(config.dec_depth))
        return nn.ModuleList(blocks)

    @staticmethod
    def _head(config: PairConfig) -> nn.Module:
        if config.head == "linear":
            return LinearHead(config.dec_width, config.patch_size)
        widths = [config.enc_width if hook == 0 else config.dec_width for hook in config.hooks]
        return DptHead(widths, config.dpt_levels, config.dpt_features, config.dpt_last)

    def encode(self, images: Tensor) -> Tensor:
        """Tokens (B, rows, columns, C) of images (B, 3, H, W) in [0, 1]."""
        grid = self.patch_embed.grid(images)
        x = self.patch_embed(2 * images - 1)
        rope = self._rope(grid, self.config.enc_width // self.config.enc_heads, x)
        for block in self.enc_blocks:
            x = block(x, rope)
        return self.enc_norm(x).unflatten(1, grid)

    def decode(self, tokens_1: Tensor, tokens_2: Tensor) -> PairMaps:
        """Maps of the pairs (image 1, image 2) from their tokens (B, rows, columns, C)."""
        grid = (tokens_1.shape[1], tokens_1.shape[2])
        views = self.streams(tokens_1, tokens_2)
        raw = self._run_heads(views, grid)
        stacked = torch.stack([raw[name] for name in ALL_MAPS], 1).unflatten(1, (2, 2))
        return PairMaps(stacked[..., :3], stacked[..., 3])

    def forward(self, images_1: Tensor, images_2: Tensor) -> PairMaps:
        """Both steps at once, for training; images (B, 3, H, W) in [0, 1]."""
        tokens = self.encode(torch.cat((images_1, images_2)))
        return self.decode(*tokens.chunk(2))

    def streams(self, tokens_1: Tensor, tokens_2: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Both views' lists [encoder output, decoder layer 1, ..., last (normalised)], each (B, N, C)."""
        grid = (tokens_1.shape[1], tokens_1.shape[2])
        flat_1, flat_2 = tokens_1.flatten(1, 2), tokens_2.flatten(1, 2)
        x1, x2 = self.decoder_embed(flat_1), self.decoder_embed(flat_2)
        rope = self._rope(grid, self.config.dec_width // self.config.dec_heads, x1)
        layers_1, layers_2 = decode_streams(self.dec_blocks, self.dec_blocks2, x1, x2, rope)
        layers_1[-1], layers_2[-1] = self.dec_norm(layers_1[-1]), self.dec_norm(layers_2[-1])
        return [flat_1, *layers_1], [flat_2, *layers_2]

    def _rope(self, grid: tuple[int, int], head_dim: int, x: Tensor):
        return grid_table(grid, head_dim, x.device)

    def _run_heads(
        self, views: tuple[list[Tensor], list[Tensor]], grid: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Activated maps (B, H, W, 4) by name; a map without a head of its own is that of the other time."""
        done: dict[str, Tensor] = {}
        for view, layers in zip("12", views, strict=True):
            if self.config.head == "dpt":
                layers = [layers[hook] for hook in self.config.hooks]
            with full_precision(layers[-1]):
                inputs = [layer.float() for layer in layers]
                for time in "12":
                    if f"p{view}{time}" in self.heads:
                        done[f"p{view}{time}"] = activate(
                            self.heads[f"p{view}{time}"](inputs, grid)
                        )
            own, other = f"p{view}{view}", f"p{view}{'21'[int(view) - 1]}"
            done.setdefault(other, done[own])
        return done


def activate(raw: Tensor) -> Tensor:
    """Points and certainty (B, H, W, 4) of raw channels (B, 4, H, W)."""
    return torch.cat((points_exp(raw[:, :3]), confidence_exp(raw[:, 3])[..., None]), -1)

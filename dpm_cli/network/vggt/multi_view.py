"""V-DPM's network (and VGGT's, which is the same without time): a window of frames to point maps and cameras.

    images -> encode (once a frame) -> aggregate (once a window) -> cameras
                                                  |
                                                  +-> maps(target time, source frames), as many as are wanted

Every map is in the frame of the window's first camera. The public code decodes all S x S maps and keeps all layers
of all frames; here only what is asked for is computed, in chunks that bound the memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpm_cli.network.activation import confidence_exp, points_inv_log
from dpm_cli.network.attention import full_precision
from dpm_cli.network.vggt.aggregator import Aggregator
from dpm_cli.network.vggt.camera_head import CameraHead
from dpm_cli.network.vggt.config import MultiViewConfig
from dpm_cli.network.vggt.dense_head import DenseHead
from dpm_cli.network.vggt.time_decoder import TimeDecoder

DECODER_TOKENS = 8192
"""Above so many tokens at once the four levels are decoded one by one (2 GiB of hidden units in float32)."""
HEAD_FRAMES = 8
"""Frames that go through a dense head at once; as in the public code, without numerical effect."""


@dataclass(frozen=True, eq=False)
class WindowTokens:
    """What the aggregator knows of B windows of S frames."""

    layers: list[Tensor]
    """Four hooked layers (B, S, P, 2C)."""
    grid: tuple[int, int]
    """(rows, columns) of patches."""

    @property
    def frames(self) -> int:
        """S."""
        return self.layers[0].shape[1]


class MultiViewNetwork(nn.Module):
    """A window of frames to point maps at chosen times and cameras."""

    def __init__(self, config: MultiViewConfig):
        super().__init__()
        self.config = config
        self.aggregator = Aggregator(config)
        self.decoder = TimeDecoder(config) if config.decoder_depth else None
        self.camera_head = CameraHead(config)
        self.point_head = DenseHead(config, 4)
        self.depth_head = DenseHead(config, 2) if config.depth_head else None

    def encode(self, images: Tensor) -> Tensor:
        """Image tokens (B, rows, columns, C) of images (B, 3, H, W) in [0, 1]."""
        return self.aggregator.encode(images)

    def aggregate(self, patches: Tensor) -> WindowTokens:
        """Windows of image tokens (B, S, rows, columns, C), the reference frame first."""
        return WindowTokens(self.aggregator(patches), (patches.shape[2], patches.shape[3]))

    def cameras(self, window: WindowTokens) -> list[Tensor]:
        """Pose encoding (B, S, 9) after each iteration of the camera head."""
        tokens = window.layers[-1][:, :, 0]
        with full_precision(tokens):
            return self.camera_head(tokens.float())

    def at_time(
        self, window: WindowTokens, target: int, sources: slice | None = None
    ) -> list[Tensor]:
        """The four layers (B, S', P, 2C) of the frames `sources`, moved to the time of frame `target`."""
        if self.decoder is None:
            return [layer if sources is None else layer[:, sources] for layer in window.layers]
        # The condition is the raw token of the last layer: no norm comes before it.
        time = window.layers[-1][:, target, 1]
        levels, (batch, frames, tokens) = window.layers, window.layers[0].shape[:3]
        if len(levels) * batch * frames * tokens > DECODER_TOKENS:
            return [self.decoder(level, time, window.grid, sources) for level in levels]
        together = self.decoder(
            torch.cat(levels), time.repeat(len(levels), 1), window.grid, sources
        )
        return list(together.chunk(len(levels)))

    def maps(
        self, window: WindowTokens, target: int, sources: slice | None = None
    ) -> tuple[Tensor, Tensor]:
        """Points (B, S', H, W, 3) of frames `sources` at the time of `target`, and certainty (B, S', H, W)."""
        return self.point_maps(self.at_time(window, target, sources), window.grid)

    def point_maps(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points (B, S, H, W, 3) and certainty (B, S, H, W) of four layers (B, S, P, 2C)."""
        raw = self.dense(self.point_head, layers, grid)
        batch = layers[0].shape[0]
        points, certainty = points_inv_log(raw[:, :3]), confidence_exp(raw[:, 3])
        return points.unflatten(0, (batch, -1)), certainty.unflatten(0, (batch, -1))

    def depths(self, window: WindowTokens) -> tuple[Tensor, Tensor]:
        """VGGT's depth (B, S, H, W) and its certainty."""
        assert self.depth_head is not None
        raw = self.dense(self.depth_head, window.layers, window.grid)
        batch = window.layers[0].shape[0]
        depth, certainty = raw[:, 0].exp(), confidence_exp(raw[:, 1])
        return depth.unflatten(0, (batch, -1)), certainty.unflatten(0, (batch, -1))

    def dense(self, head: nn.Module, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Raw channels (B * S, channels, H, W) of a dense head, a few frames at a time."""
        skip = self.config.special_tokens
        patches = [layer.flatten(0, 1)[:, skip:] for layer in layers]
        with full_precision(patches[0]):
            chunks = zip(*(p.split(HEAD_FRAMES) for p in patches), strict=True)
            return torch.cat([head([p.float() for p in chunk], grid) for chunk in chunks])

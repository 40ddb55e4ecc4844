"""The decoder of the mini network: from attended tokens to maps, through the solve at 1/4 (picture in `mini.model`).

There may be two: one that is told nothing but images and flow, and one that is told a depth prior too. The second
starts as a copy of the first and has three more inputs, and two gates for how far depth is drawn to the prior.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.mini.config import MiniConfig
from dpm_cli.network.mini.inputs import rigid_evidence
from dpm_cli.network.mini.layers import ResidualBlock, Up, float32, residual_blocks
from dpm_cli.network.mini.solve import EVIDENCE_CHANNELS, Solved, agree, fuse, solve
from dpm_cli.network.mini.told import TOLD_CHANNELS, Told
from dpm_cli.network.mini.warp import OFFSET_UNIT, grow, shrink

_OUTPUTS = 12
_QUARTER_OUTPUTS = 6
_GATE_BIAS = -1.0
"""Depth by parallax, and a prior, start with a quarter of the say where they are clear."""
_FAR = 2.0
"""Log depth that a prior may move at most."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What both decoders start from: features at 1/2, 1/4, 1/8 and tokens at 1/16, and the pair's geometry."""

    half: Tensor
    quarter: Tensor
    eighth: Tensor
    tokens: Tensor
    target: Tensor
    """(B, 2, H, W, 2) given matches, normalised coordinates in the other view."""
    pose: Tensor
    """(B, 6) the network's guess."""
    hint_camera: Tensor
    """(B, 8) of the camera fitted to the given flow."""
    focal: Tensor
    """(B,) in half diagonals."""
    pixel: float
    """Size of a pixel in normalised coordinates."""
    noise_px: Tensor
    """(B,) deviation of the flow, pixels."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Maps of both views."""

    coarse: Tensor
    """(B, 2, H / 8, W / 8) log depth."""
    found: Tensor
    """(B, 2, 6, H / 4, W / 4) see `solve`."""
    scene: Solved
    maps: Tensor
    """(B, 2, 11, H, W) see `MiniOutput.maps`."""


class Decoder(nn.Module):
    """See the module."""

    def __init__(self, c: MiniConfig, told: bool = False):
        super().__init__()
        self.up_8 = Up(c.token, c.eighth, c.eighth)
        self.decode_8 = residual_blocks(c.eighth, c.blocks_eighth)
        self.coarse = nn.Conv2d(c.eighth, 1, 1)
        self.up_4 = Up(c.eighth, c.quarter, c.quarter)
        self.evidence = nn.Conv2d(6, c.quarter, 3, padding=1)
        self.decode_4 = residual_blocks(c.quarter, c.blocks_quarter)
        self.quarter = nn.Conv2d(c.quarter, _QUARTER_OUTPUTS, 1)
        self.solved = nn.Conv2d(EVIDENCE_CHANNELS, c.quarter, 3, padding=1)
        self.settle = ResidualBlock(c.quarter)
        self.up_2 = Up(c.quarter, c.half, c.half)
        self.refine = nn.Conv2d(c.half, c.half, 3, padding=1)
        self.head = nn.Conv2d(c.half, 4 * _OUTPUTS, 1)
        outputs = [self.head, self.coarse, self.quarter, self.solved]
        if told:
            self.tell_8 = nn.Conv2d(TOLD_CHANNELS, c.eighth, 3, padding=1)
            self.tell_4 = nn.Conv2d(TOLD_CHANNELS, c.quarter, 3, padding=1)
            self.tell_2 = nn.Conv2d(TOLD_CHANNELS, c.half, 3, padding=1)
            self.say_4 = nn.Conv2d(c.quarter, 1, 1)
            self.say_2 = nn.Conv2d(c.half, 4, 1)
            outputs += [self.tell_8, self.tell_4, self.tell_2, self.say_4, self.say_2]
        for layer in outputs:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def decode(self, seen: Encoded, told: Told | None = None) -> Decoded:
        """Maps of B pairs; `told` only to a decoder that was made for it."""
        x = self.up_8(seen.tokens, seen.eighth)
        x = self.decode_8(x if told is None else x + _planes(self.tell_8, told, x))
        coarse = float32(self.coarse, x).unflatten(0, (-1, 2))[:, :, 0]
        small = shrink(seen.target, 4)
        x = self.up_4(x, seen.quarter)
        if told is not None:
            x = x + _planes(self.tell_4, told, x)
        evidence = rigid_evidence(coarse, small, seen.pose, seen.focal)
        x = self.decode_4(x + self.evidence(evidence.to(x)))
        found = float32(self.quarter, x).unflatten(0, (-1, 2))
        depth = found[:, :, :1] + grow(coarse[:, :, None], 2)
        if told is not None:
            say = float32(self.say_4, x)
            depth = _drawn(depth.squeeze(2), say, told)[:, :, None]
        found = torch.cat((depth, found[:, :, 1:]), 2)
        with torch.autocast(x.device.type, enabled=False):
            scene = solve(
                *(found.detach(), small, seen.pose.detach(), seen.hint_camera),
                *(seen.focal.detach(), seen.pixel, seen.noise_px),
            )
        x = self.settle(x + self.solved(scene.evidence.flatten(0, 1).to(x)))
        return Decoded(coarse, found, scene, self._maps(x, seen, found, scene, told))

    def _maps(
        self, x: Tensor, seen: Encoded, found: Tensor, scene: Solved, told: Told | None
    ) -> Tensor:
        """Maps (B, 2, 11, H, W) at full size, each added to what was `found` at 1/4."""
        x = self.up_2(x, seen.half)
        if told is not None:
            x = x + _planes(self.tell_2, told, x)
        x = F.gelu(self.refine(F.gelu(x)))
        out = F.pixel_shuffle(float32(self.head, x), 2).unflatten(0, (-1, 2))
        # Splits, not slices: the gradient of each slice would be a zero-filled copy of all channels.
        depth, offset, free, motion, valid, gate = out.split((1, 2, 6, 1, 1, 1), 2)
        smooth = grow(found, 4).split((1, 2, 1, 1, 1), 2)
        log_depth = (depth + smooth[0]).squeeze(2)
        if told is not None:
            log_depth = _drawn(log_depth, F.pixel_shuffle(float32(self.say_2, x), 2), told)
        offset = offset + smooth[1]
        matched = seen.target.detach() + OFFSET_UNIT * offset.detach().permute(0, 1, 3, 4, 2)
        gate = (gate + smooth[4]).squeeze(2) + _GATE_BIAS
        log_depth = fuse(log_depth, gate, matched, scene, seen.focal.detach(), seen.pixel)
        return torch.cat((log_depth[:, :, None], offset, free, motion + smooth[3], valid), 2)


def _planes(layer: nn.Module, told: Told, x: Tensor) -> Tensor:
    """What a layer makes of the prior's planes at the size of the features `x` (2 B, C, h, w)."""
    small = F.adaptive_avg_pool2d(told.planes, (x.shape[-2], x.shape[-1]))
    return layer(small.contiguous(memory_format=torch.channels_last).to(x))


def _drawn(log_depth: Tensor, gate: Tensor, told: Told) -> Tensor:
    """Log depth (B, 2, h, w) drawn to the prior, in each view's own scale, by the share of a gate (2 B, 1, h, w)."""
    size = (log_depth.shape[-2], log_depth.shape[-1])
    valid = F.adaptive_avg_pool2d(told.valid, size)
    prior = F.adaptive_avg_pool2d(told.log_depth, size) / valid.clamp_min(1e-3)
    off = (log_depth.detach() - prior).flatten(0, 1)
    scale = agree(off, (valid.flatten(0, 1) + 1e-6)).unflatten(0, (-1, 2))
    apart = (prior + scale[..., None, None] - log_depth).clamp(-_FAR, _FAR)
    share = torch.sigmoid(gate.unflatten(0, (-1, 2)).squeeze(2) + _GATE_BIAS)
    return log_depth + share * valid * apart

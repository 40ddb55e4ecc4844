"""The mini network: four dynamic point maps of a pair whose matching is given.

                 images, flow both ways
    RGB, other image warped, flow, log consistency, grid, focal where known,     both views, shared weights
    depth by parallax with its uncertainty (`parallax`)
        | 1/2 ------------------------------------------------------------------------------+
        | 1/4 + alike pixels around the match (`correlation`) --------------+               |
        | 1/8 + other view's features, warped ----------------+             |               |
        | 1/16 = tokens of both views + focal and pose tokens |             |               |
        | attention x layers --> focal, pose                  |             |               |
        +--------------------> 1/8 --> coarse log depth ----> 1/4 --> solve --> 1/2 --> pixels --> solve pose
                                          |  flow left over by pose and depth: what moves by itself

Solve, without gradient (`solve`): with the flow as corrected, the focal length and the movers as found so far, the
camera is fitted anew, depth by parallax is made again and fused with the network's own where it is clear, and the pose
is fitted to depth and flow. The decoder goes on from what that leaves unexplained.

Both views' points are predicted at t_1 in camera 1: view 1 on its own rays, view 2 on the rays of its corrected
matches. An explicit displacement, zero at the start, brings them to t_2: the part of the flow that the camera's motion
does not explain, gated, plus a free part. With it the static world is the network's starting point, as
in the paper, whose heads start at the static solution.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.mini.compose import compose, corrected_flow
from dpm_cli.network.mini.config import MiniConfig
from dpm_cli.network.mini.correlation import Correlation
from dpm_cli.network.mini.decoder import Decoder, Encoded
from dpm_cli.network.mini.inputs import INPUT_CHANNELS, network_inputs
from dpm_cli.network.mini.layers import AttentionLayer, GridCode, float32, residual_blocks
from dpm_cli.network.mini.parallax import (
    CAMERA_NUMBERS,
    HINT_CHANNELS,
    NOISE_PX,
    CameraHint,
    parallax,
)
from dpm_cli.network.mini.solve import final_pose
from dpm_cli.network.mini.told import align_prior
from dpm_cli.network.mini.warp import half_diagonal, normalised_grid, shrink, swap_views, warp

_EXTRA_TOKENS = 4
_TYPICAL_LOG_FOCAL = 0.5


@dataclass(frozen=True, eq=False)
class MiniOutput:
    """Float32 maps of B pairs; lengths in a scale the network chooses per pair."""

    points: Tensor
    """(B, 2, 2, H, W, 3) P_view(t_time) in camera 1."""
    log_confidence: Tensor
    """(B, 2, 2, H, W) raw, uncalibrated."""
    log_depth: Tensor
    """(B, 2, H, W) of the points at t_1 in camera 1."""
    displacement: Tensor
    """(B, 2, H, W, 3) from t_1 to t_2 in camera 1."""
    motion_logit: Tensor
    """(B, 2, H, W)."""
    valid_logit: Tensor
    """(B, 2, H, W)."""
    log_focal: Tensor
    """(B,) predicted focal / half diagonal, also where the true one was given."""
    pose_guess: Tensor
    """(B, 6) axis-angle and translation of camera 2 from camera 1, as the network says; has a gradient."""
    pose: Tensor
    """(B, 6) the same fitted to points and flow."""
    coarse_log_depth: Tensor
    """(B, 2, H / 8, W / 8) of the points at t_1 in camera 1."""
    flow: Tensor
    """(B, 2, H, W, 2) pixels, the given flow as corrected."""
    log_flow_error: Tensor
    """(B, 2, H / 4, W / 4) log of the corrected flow's expected error in pixels."""
    maps: Tensor
    """(B, 2, 11, H, W) what the points are made of: log depth, match offset (2), gate, free motion (3), raw confidences
    (2), motion and validity logits. Smooth but for edges, so they may be resampled."""
    focal: Tensor
    """(B,) focal / half diagonal that the points use: the true one where it was given."""


class MiniNetwork(Decoder):
    """See the module. The decoder that is told no prior is the network's own part, so that older weights fit."""

    def __init__(self, config: MiniConfig):
        super().__init__(config)
        c = self.config = config
        self.stem = nn.Conv2d(4 * (INPUT_CHANNELS + HINT_CHANNELS), c.half, 3, padding=1)
        self.down_4 = nn.Conv2d(c.half, c.quarter, 3, stride=2, padding=1)
        self.correlation = Correlation(c.quarter, c.quarter)
        self.encode_4 = residual_blocks(c.quarter, c.blocks_quarter)
        self.down_8 = nn.Conv2d(c.quarter, c.eighth, 3, stride=2, padding=1)
        self.exchange = nn.Conv2d(c.eighth, c.eighth, 1)
        self.encode_8 = residual_blocks(c.eighth, c.blocks_eighth)
        self.down_16 = nn.Conv2d(c.eighth, c.token, 3, stride=2, padding=1)
        self.position = GridCode(c.token)
        self.view = nn.Parameter(torch.randn(2, 1, 1, c.token) * 0.02)
        self.extra = nn.Parameter(torch.randn(_EXTRA_TOKENS, c.token) * 0.02)
        self.attention = nn.ModuleList(AttentionLayer(c.token, c.heads) for _ in range(c.layers))
        self.token_norm = nn.LayerNorm(c.token)
        self.camera_hint = nn.Linear(CAMERA_NUMBERS, 2 * c.token)
        self.camera = nn.Linear(2 * c.token, 9)
        for layer in (self.camera, self.camera_hint):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        self.told = Decoder(c, told=True) if c.told else None

    def forward(
        self,
        images: Tensor,
        flow: Tensor,
        focal_px: Tensor | None = None,
        noise_px: Tensor | None = None,
        prior: Tensor | None = None,
    ) -> MiniOutput:
        """Four maps of B pairs.

        Args:
            images: (B, 2, 3, H, W) in [0, 1]; H and W multiples of 16.
            flow: (B, 2, H, W, 2) pixels, image 1 to 2 and image 2 to 1.
            focal_px: (B,) focal length where it is known, 0 where not; None = known nowhere.
            noise_px: (B,) deviation of the flow, pixels; None = that of flow measured in images of this size.
            prior: (B, 2, H, W) inverse depth up to scale and shift, each view in its own camera, 0 where there is
                none; only for a network that has a second decoder for it.
        """
        height, width = images.shape[-2:]
        unit = half_diagonal(height, width)
        flow = flow.float()
        grid = normalised_grid(height, width, like=images)
        target = grid + flow / unit
        known = torch.zeros_like(images[:, 0, 0, 0, 0]) if focal_px is None else focal_px / unit
        if noise_px is None:
            noise_px = torch.full_like(known, NOISE_PX)
        x, error_px = network_inputs(images, target, grid, known)
        guess = torch.where(known > 0, known, torch.full_like(known, math.exp(_TYPICAL_LOG_FOCAL)))
        with torch.autocast(images.device.type, enabled=False):
            hint = parallax(flow, (-error_px).exp(), guess, noise_px)
        x = torch.cat((x, hint.hint.flatten(0, 1)), 1).contiguous(memory_format=torch.channels_last)
        half, quarter, eighth, tokens, extra = self._encode(x, images, target, hint)
        camera = float32(self.camera, extra[:, :2].flatten(1))
        log_focal = camera[:, 0] + _TYPICAL_LOG_FOCAL
        # The fitted camera counts as far as the network trusts it; for a still camera its translation means nothing.
        trust = camera[:, 7:].repeat_interleave(3, 1)
        pose = camera[:, 1:7] * 0.1 + trust * hint.camera[:, :6]
        focal = torch.where(known > 0, known, log_focal.exp())
        pixel = 1 / unit
        seen = Encoded(
            *(half, quarter, eighth, tokens, target, pose, hint.camera, focal, pixel, noise_px)
        )
        if prior is None:
            out = self.decode(seen)
        else:
            assert self.told is not None, "this network has no decoder for a prior"
            with torch.autocast(images.device.type, enabled=False):
                told = align_prior(prior, hint, (-error_px).exp(), pose.detach(), focal.detach())
            out = self.told.decode(seen, told)
        maps, found = out.maps, out.found
        # Splits, not slices: the gradient of each slice would be a zero-filled copy of all channels.
        depth, offset, rest = maps.split((1, 2, 8), 2)
        _, confidence, motion, valid = rest.split((4, 2, 1, 1), 2)
        pose_fit = final_pose(maps.detach(), found.detach(), target, out.scene.pose, focal.detach())
        better = corrected_flow(offset, flow)
        points, displacement = compose(torch.cat((depth, rest), 2), better, pose_fit, focal)
        return MiniOutput(
            points=points,
            log_confidence=confidence,
            log_depth=depth.squeeze(2),
            displacement=displacement,
            motion_logit=motion.squeeze(2),
            valid_logit=valid.squeeze(2),
            log_focal=log_focal,
            pose_guess=pose,
            pose=pose_fit,
            coarse_log_depth=out.coarse,
            flow=better,
            log_flow_error=found[:, :, 3],
            maps=maps,
            focal=focal,
        )

    def _encode(
        self, x: Tensor, images: Tensor, target: Tensor, hint: CameraHint
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Features at 1/2, 1/4, 1/8, attended tokens as maps at 1/16, and the camera tokens."""
        half = F.gelu(self.stem(F.pixel_unshuffle(x, 2)))
        alike = self.correlation(images.flatten(0, 1), shrink(target, 4).flatten(0, 1))
        quarter = self.encode_4(self.down_4(half) + alike)
        eighth = self.down_8(quarter)
        matched = shrink(target, 8).flatten(0, 1)
        eighth = eighth + self.exchange(warp(swap_views(eighth), matched))
        eighth = self.encode_8(eighth)
        deep = self.down_16(eighth).permute(0, 2, 3, 1).unflatten(0, (-1, 2))
        rows, columns = deep.shape[2:4]
        deep = deep + self.position(normalised_grid(rows, columns, like=deep)) + self.view
        told = self.camera_hint(hint.camera).unflatten(1, (2, -1))
        extra = self.extra + F.pad(told, (0, 0, 0, _EXTRA_TOKENS - 2))
        tokens = torch.cat((extra.to(deep.dtype), deep.flatten(1, 3)), 1)
        for layer in self.attention:
            tokens = layer(tokens)
        tokens = self.token_norm(tokens)
        maps = tokens[:, _EXTRA_TOKENS:].unflatten(1, (2, rows, columns)).flatten(0, 1)
        return half, quarter, eighth, maps.permute(0, 3, 1, 2), tokens[:, :_EXTRA_TOKENS]

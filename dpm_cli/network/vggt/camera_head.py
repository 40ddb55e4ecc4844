"""Cameras of a window from its camera tokens, refined in a few iterations (VGGT section 3.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpm_cli.network.attention import Mlp
from dpm_cli.network.vggt.aggregator import EPS
from dpm_cli.network.vggt.config import MultiViewConfig
from dpm_cli.network.vit import Block

POSE_CHANNELS = 9
"""Translation 3, quaternion xyzw 4 (not normalised), vertical and horizontal field of view (radians)."""


class CameraHead(nn.Module):
    """Camera tokens to pose encodings: world to camera, OpenCV axes, world = first frame."""

    def __init__(self, config: MultiViewConfig):
        super().__init__()
        self.iterations = config.camera_iterations
        width = 2 * config.width
        self.token_norm = nn.LayerNorm(width, eps=EPS)
        self.trunk_norm = nn.LayerNorm(width, eps=EPS)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_CHANNELS))
        self.embed_pose = nn.Linear(POSE_CHANNELS, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.trunk = nn.Sequential(
            *(
                Block(width, config.camera_heads, eps=EPS, layer_scale=True)
                for _ in range(config.camera_depth)
            )
        )
        self.pose_branch = Mlp(width, width // 2, POSE_CHANNELS)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Pose encoding (B, S, 9) after each iteration, from camera tokens (B, S, C)."""
        tokens = self.token_norm(tokens)
        # This norm alone has no weights, and the image ViT's eps.
        plain = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        asked = self.empty_pose_tokens.expand(*tokens.shape[:2], -1)
        raw = torch.zeros_like(asked)
        encodings = []
        for _ in range(self.iterations):
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(asked)).chunk(3, -1)
            x = self.trunk(gate * (plain * (1 + scale) + shift) + tokens)
            raw = raw + self.pose_branch(self.trunk_norm(x))
            asked = raw.detach()
            encodings.append(torch.cat((raw[..., :7], F.relu(raw[..., 7:])), -1))
        return encodings

"""MoGe-2 as a prior. The number of tokens sets its cost, and is chosen for the device.

On one core of the machine this was written on, one frame of 288x512 takes .51 s of the processor with 256 tokens, .59 s
with 300, .71 s with 350 and 1.26 s with 600 (small size, random weights); its authors use 1200 to 3600. What 300 tokens
cost in accuracy could not be measured without the weights: edges get coarser than 1/20 of the picture's width.
"""

from pathlib import Path

import numpy as np
import torch

from dpm_cli.network.moge.model import MogeNetwork
from dpm_cli.network.moge.pinhole import pinhole_view
from dpm_cli.prior.estimate import (
    NETWORK_FOCAL_SIGMA,
    NETWORK_SHIFT_SIGMA,
    NETWORK_SIGMA_LOG,
    PriorEstimate,
    PriorInfo,
)
from dpm_cli.weights.checkpoint import read_checkpoint
from dpm_cli.weights.load import load_moge_network

TOKENS = {"cpu": 300, "mps": 1200, "cuda": 1800}
_FARTHEST = 1e-4
"""Inverse depth below which nothing is told apart."""


class MogePrior:
    """A MoGe-2 network where it runs."""

    def __init__(
        self,
        network: MogeNetwork,
        info: PriorInfo,
        device: torch.device,
        dtype: torch.dtype,
        tokens: int | None = None,
    ):
        self.info = info
        self.network = network.to(device)
        self.device, self.dtype = device, dtype
        self.tokens = tokens or TOKENS[device.type]

    @torch.inference_mode()
    def estimate(self, t: int, image: np.ndarray) -> PriorEstimate:
        """Depth, sky and focal length of one picture (H, W, 3) uint8; the number of the frame does not matter."""
        pixels = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float() / 255
        half = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=half):
            maps = self.network(pixels, self.tokens)
        view = pinhole_view(maps)
        valid = view.valid[0].cpu().numpy()
        depth = np.where(valid, view.depth[0].cpu().numpy(), 1.0)
        focal_px = float(view.intrinsics[0, 0, 0]) * image.shape[1]
        return PriorEstimate(
            inverse_depth=np.where(valid, np.maximum(1 / depth, _FARTHEST), 0).astype(np.float32),
            valid=valid,
            sky=maps.mask[0].cpu().numpy() <= 0.5,
            sigma_log=NETWORK_SIGMA_LOG,
            shift_sigma=NETWORK_SHIFT_SIGMA,
            metric=True,
            focal_px=focal_px if valid.any() and focal_px > 0 else None,
            focal_sigma_log=NETWORK_FOCAL_SIGMA,
        )


def load_moge(path: Path, info: PriorInfo, device: torch.device, dtype: torch.dtype) -> MogePrior:
    """The prior of a MoGe-2 file.

    Raises:
        WeightsError: the file is of another network or damaged.
    """
    return MogePrior(load_moge_network(read_checkpoint(path)), info, device, dtype)

"""What predictors of one network have in common: a frame becomes tokens once, whoever asks for its pairs or windows."""

from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dpm_cli.predictors.precision import place, precision
from dpm_cli.predictors.protocol import Features, PredictorInfo
from dpm_cli.structures import Clip

Network = TypeVar("Network", bound=nn.Module)


class TokenPredictor(Generic[Network]):
    """A network with `encode`, placed on a device; cameras are nothing to it."""

    def __init__(
        self,
        network: Network,
        blocks: Iterable[nn.Module],
        info: PredictorInfo,
        device: torch.device,
        dtype: torch.dtype,
    ):
        self._info = info
        self.device, self.dtype = device, dtype
        place(network, tuple(blocks), device, dtype)
        self.network = network.eval()

    @property
    def info(self) -> PredictorInfo:
        """Name, licence, sizes."""
        return self._info

    def prepare(self, clip: Clip, intrinsics: np.ndarray | None) -> None:
        """Nothing: the network takes no cameras, and every pair stands for itself."""

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Features:
        """Tokens (B, rows, columns, C) of images (B, 3, H, W) in [0, 1]."""
        with precision(self.device, self.dtype):
            return {"tokens": self.network.encode(images)}  # pyright: ignore[reportCallIssue]

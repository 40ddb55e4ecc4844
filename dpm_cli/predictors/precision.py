"""Half precision for transformer blocks: weights of their linear layers are stored in it, heads stay float32."""

from collections.abc import Iterable

import torch
from torch import nn

HALF = (torch.bfloat16, torch.float16)


def place(
    network: nn.Module, blocks: Iterable[nn.Module], device: torch.device, dtype: torch.dtype
) -> None:
    """Move `network` to `device`, the linear layers of `blocks` in `dtype` where it is half.

    Norms, heads and the residual stream stay float32 (autocast). Layers are moved one by one, so the host never
    holds a second copy of a network that is mapped from its file.
    """
    if dtype in HALF:
        for block in blocks:
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    module.to(device, dtype)
    network.to(device)


def precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Autocast to `dtype`, off for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype in HALF)

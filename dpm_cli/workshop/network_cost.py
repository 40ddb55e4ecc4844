"""What a pair network has to do at least, and what this machine's matrix unit can do: the two sides of a share.

Operations are those of matrix products, convolutions and attention, a multiplication and its addition being two; what
else a network does is thousands of times less. Bytes are what those and all other operations read and write when each
is a pass over memory, views for nothing.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dpm_cli.predictors.protocol import Predictor
from dpm_cli.workshop.synthetic.traffic import Traffic

_SIDE = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices whose product is timed."""
_ROUNDS = 5


@dataclass(frozen=True)
class NetworkCost:
    """Of all frames and pairs of a clip."""

    operations: float
    bytes: float


def network_cost(predictor: Predictor, images: Tensor, pairs: int, batch_size: int) -> NetworkCost:
    """Cost of encoding images (T, 3, H, W) once each and of so many `pairs`, `batch_size` at a time.

    Counted on one frame and on one batch of pairs of it.
    """
    frame = _counted(lambda: predictor.encode(images[:1]))
    features = predictor.encode(images[:1])
    several = {key: value.expand(batch_size, *value.shape[1:]) for key, value in features.items()}
    batch = _counted(lambda: predictor.predict(several, several))
    return NetworkCost(
        *(len(images) * f + pairs / batch_size * b for f, b in zip(frame, batch, strict=True))
    )


def _counted(work) -> tuple[float, float]:
    """Operations and bytes."""
    # Attention as plain products, because not every fused kernel is known to the counter.
    with FlopCounterMode(display=False) as operations, sdpa_kernel(SDPBackend.MATH):
        work()
    with Traffic() as traffic:
        work()
    return float(operations.get_total_flops()), float(traffic.eager_bytes)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the product of two large matrices, the best of a few."""
    side = _SIDE.get(device.type, 1024)
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        product = a @ b
        # Reading a number waits for the device.
        product[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best

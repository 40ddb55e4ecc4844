"""How much of the device training uses: arithmetic of a step against what a large matrix product reaches here."""

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode


def product_flops(device: torch.device, seconds: float = 0.3) -> float:
    """Floating point operations per second of a large bfloat16 matrix product with this process's threads."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    count, began = 0, 0.0
    for round_number in range(10_000):
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if round_number == 0:  # the first product pays for start-up
            began = time.perf_counter()
            continue
        count += 1
        if time.perf_counter() - began > seconds:
            break
    return 2 * side**3 * count / (time.perf_counter() - began)


def counted_flops(run: Callable[[], object]) -> float:
    """Floating point operations of the products and convolutions in `run`."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())

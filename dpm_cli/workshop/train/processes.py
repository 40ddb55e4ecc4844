"""Several processes that train one network (torchrun), or one process that knows nothing of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

_MESSAGE = 64 << 20
"""Numbers in one message, about."""
_PATIENCE = timedelta(hours=1)
"""The others wait while the chief renders a cache, validates or writes; NCCL alone would give up after ten minutes."""


@dataclass(frozen=True)
class Processes:
    """Who this process is."""

    rank: int = 0
    world: int = 1

    @property
    def chief(self) -> bool:
        """The one that writes files."""
        return self.rank == 0

    def mean_gradients(self, network: torch.nn.Module) -> None:
        """Average all gradients over the processes; equal shares make it the whole batch's gradient.

        Gradients travel in messages of bounded size, so that a large network needs no second copy of them.
        """
        if self.world == 1:
            return
        message, count = [], 0
        for p in network.parameters():
            if p.grad is None:
                continue
            message.append(p.grad)
            count += p.grad.numel()
            if count > _MESSAGE:
                self._mean(message)
                message, count = [], 0
        self._mean(message)

    def _mean(self, gradients: list[Tensor]) -> None:
        if not gradients:
            return
        flat = torch.cat([g.flatten() for g in gradients]) / self.world
        dist.all_reduce(flat)
        for g, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            g.copy_(mean.view_as(g))

    def agree(self, value: float) -> float:
        """The chief's value on all, so that clocks that differ give one schedule."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        if dist.get_backend() == "nccl":
            shared = shared.cuda()
        dist.broadcast(shared, 0)
        return float(shared)


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the group that torchrun announces in the environment; alone without one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    if device.type == "cuda":
        # What NCCL moves by default lies on the current device, which is the first card until told.
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()

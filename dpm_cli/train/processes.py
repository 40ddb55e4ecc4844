"""Several processes that train one network (torchrun), or one process that knows nothing of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist


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
        """Average all gradients over the processes in one message; equal shares make it the whole batch's gradient.

        The network is small (tens of MB), so hiding the message behind the backward pass is not worth the wrapper.
        """
        if self.world == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients]) / self.world
        dist.all_reduce(flat)
        start = 0
        for g in gradients:
            g.copy_(flat[start : start + g.numel()].view_as(g))
            start += g.numel()

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
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()

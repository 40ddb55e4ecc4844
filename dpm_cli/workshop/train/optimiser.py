"""Muon for the matrices inside a network, AdamW for everything else.

Muon (Jordan et al. 2024) follows the momentum made orthogonal: all directions of a matrix learn at one pace,
where Adam lets a few dominate. Scaled to the usual step length of AdamW (Liu et al., arXiv 2502.16982), so that one
learning rate and one weight decay serve both.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_STEP_RMS = 0.2
"""Root mean square of an AdamW step in units of the rate (ibid.)."""
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients that push singular values to about one in five rounds (Jordan et al.)."""
_ROUNDS = 5


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (m, n) with all singular values near one (0.7 to 1.2), float32."""
    a, b, c = _NEWTON_SCHULZ
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.mT if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """For parameters of two or more dimensions; kernels count as matrices of (out, all the rest)."""

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float):
        super().__init__(parameters, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Decay, then one orthogonal step along Nesterov's momentum."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum = state["momentum"]
                momentum.lerp_(p.grad, 1 - _MOMENTUM)
                ahead = p.grad.lerp(momentum, _MOMENTUM).flatten(1)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                size = group["lr"] * _STEP_RMS * max(ahead.shape) ** 0.5
                p.sub_(size * orthogonal(ahead).view_as(p))


class MuonAdamW:
    """Both as one, with the little of torch's interface that training needs."""

    def __init__(self, network: nn.Module, inner: Iterable[str], weight_decay: float):
        """`inner` are prefixes of the names of the modules whose matrices Muon takes."""
        prefixes = tuple(inner)
        matrices, decay, plain = [], [], []
        for name, p in network.named_parameters():
            matrix = p.dim() > 1 and name.startswith(prefixes)
            (matrices if matrix else decay if p.dim() > 1 else plain).append(p)
        groups = [
            {"params": decay, "weight_decay": weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=_on_gpu(plain)),
        )
        if matrices:
            self.parts = (Muon(matrices, weight_decay), *self.parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of both; setting `lr` in one takes effect."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """One step of both."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {str(k): part.state_dict() for k, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        for k, part in enumerate(self.parts):
            part.load_state_dict(state[str(k)])


def _on_gpu(parameters: list[Tensor]) -> bool:
    """There a fused step makes no temporary copies of a large network's weights."""
    return all(p.device.type == "cuda" for p in parameters)

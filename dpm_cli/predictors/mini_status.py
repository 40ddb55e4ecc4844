"""What the flow of a pair says of its camera: still, only turning, or moving.

Pixels that move by themselves are left out by the network's own judgement. A turning camera moves all others by a
quadratic field with three unknowns, whatever their depth; what is left after fitting it is parallax.
"""

import torch
from torch import Tensor

STILL_PX = 0.35
"""Median motion of the static pixels, in pixels at `REFERENCE_DIAGONAL`, below which there is none."""
REFERENCE_DIAGONAL = 587.0
"""Of 512 x 288: flow is measured at the working size, its noise grows with it."""
_ROUNDS = 8
_SAMPLES = 6000


def camera_status(flow: Tensor, weight: Tensor, focal: Tensor) -> tuple[str, ...]:
    """One word a pair: ok, still or rotation.

    Args:
        flow: (B, H, W, 2) pixels, image 1 to 2.
        weight: (B, H, W) 0..1, how surely the pixel is static, visible and matched.
        focal: (B,) focal length / half diagonal.
    """
    height, width = flow.shape[1:3]
    half = (height**2 + width**2) ** 0.5 / 2
    step = max(1, round((height * width / _SAMPLES) ** 0.5))
    flow, weight = flow[:, ::step, ::step], weight[:, ::step, ::step]
    y, x = torch.meshgrid(
        torch.arange(0, height, step, device=flow.device) - (height - 1) / 2,
        torch.arange(0, width, step, device=flow.device) - (width - 1) / 2,
        indexing="ij",
    )
    f = focal.double()[:, None] * half
    x, y = x.flatten().double()[None], y.flatten().double()[None]
    fields = torch.stack(
        (
            torch.stack((x * y / f, -(f + x * x / f), y + 0 * f), -1),
            torch.stack((f + y * y / f, -x * y / f, -x + 0 * f), -1),
        ),
        2,
    )
    moved, static = flow.flatten(1, 2).double(), weight.flatten(1).double()
    residual, robust = moved, static
    eye = 1e-9 * torch.eye(3, dtype=moved.dtype, device=moved.device)
    for _ in range(_ROUNDS):
        A = torch.einsum("bn,bnci,bncj->bij", robust, fields, fields)
        b = torch.einsum("bn,bnci,bnc->bi", robust, fields, moved)
        A = A + eye * (1 + A.diagonal(dim1=1, dim2=2).sum(1))[:, None, None]
        turn = torch.linalg.solve(A, b)
        residual = moved - torch.einsum("bnci,bi->bnc", fields, turn)
        robust = static / residual.norm(dim=-1).clamp_min(0.05)
    unit = 2 * half / REFERENCE_DIAGONAL
    whole = weighted_median(moved.norm(dim=-1), static) / unit
    left = weighted_median(residual.norm(dim=-1), static) / unit
    return tuple(
        "still" if w < STILL_PX else "rotation" if p < STILL_PX else "ok"
        for w, p in zip(whole.tolist(), left.tolist(), strict=True)
    )


def weighted_median(values: Tensor, weight: Tensor) -> Tensor:
    """Median (B,) of values (B, N) with weights (B, N)."""
    ordered, index = values.sort(1)
    total = weight.gather(1, index).cumsum(1)
    place = torch.searchsorted(total, total[:, -1:] / 2).clamp_max(values.shape[1] - 1)
    return ordered.gather(1, place)[:, 0]

"""What the flow of a pair says of its camera: still, only turning, or moving.

Pixels that move by themselves are left out by the network's own judgement. What is left after the best turn of the
camera is parallax.
"""

from torch import Tensor

from dpm_cli.geometry.camera import pixel_grid
from dpm_cli.geometry.robust import weighted_median
from dpm_cli.twoview.lines import with_z
from dpm_cli.twoview.rotation import STILL_PX, ray_transfer, turn_rays

REFERENCE_DIAGONAL = 587.0
"""Of 512 x 288, where `STILL_PX` was measured: flow is measured at the working size, its noise grows with it."""
_NOISE = 3.5
"""Forward-backward errors that what is left of the flow of a turning camera may have: .9 to 2.9 of them were measured.
It matters in small pictures, where flow errs by a larger part of their size; `STILL_PX` of their own pixels is the most
that is put down to it."""
_ROUNDS = 8
_FLOOR_PX = 0.05
_SAMPLES = 6000


def camera_status(flow: Tensor, error: Tensor, weight: Tensor, focal: Tensor) -> tuple[str, ...]:
    """One word a pair: ok, still or rotation.

    Args:
        flow: (B, H, W, 2) pixels, image 1 to 2.
        error: (B, H, W) its forward-backward error, pixels.
        weight: (B, H, W) 0..1, how surely the pixel is static, visible and matched.
        focal: (B,) focal length / half diagonal.
    """
    height, width = flow.shape[1:3]
    half = (height**2 + width**2) ** 0.5 / 2
    step = max(1, round((height * width / _SAMPLES) ** 0.5))
    grid = pixel_grid(height, width, device=flow.device).double()[::step, ::step].flatten(0, 1)
    moved = flow[:, ::step, ::step].flatten(1, 2).double()
    static = weight[:, ::step, ::step].flatten(1).double()
    focal_px = focal.double() * half
    own = (grid - grid.new_tensor(((width - 1) / 2, (height - 1) / 2))).expand_as(moved)
    first, second = (with_z(xy / focal_px[:, None, None]) for xy in (own, own + moved))
    R = turn_rays(first, second, static, focal_px, rounds=_ROUNDS, floor_px=_FLOOR_PX)
    left, _ = ray_transfer(first, second, R)
    whole_px = weighted_median(moved.norm(dim=-1), static)
    left_px = weighted_median(left.norm(dim=-1), static) * focal_px
    least = STILL_PX * 2 * half / REFERENCE_DIAGONAL
    noise_px = weighted_median(error[:, ::step, ::step].flatten(1).double(), static)
    limit_px = (_NOISE * noise_px).clamp(least, max(least, STILL_PX))
    return tuple(
        "still" if whole < limit else "rotation" if part < limit else "ok"
        for whole, part, limit in zip(
            *(x.tolist() for x in (whole_px, left_px, limit_px)), strict=True
        )
    )

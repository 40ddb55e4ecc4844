"""How fast training pairs are rendered here, plain and with fused kernels, and what each pixel costs.

Rates are wall clock over whole batches of new scenes: drawing them, rays, light, film, and the truth of all four maps.
"""

import time
from dataclasses import dataclass

import torch

from dpm_cli.progress import Reporter
from dpm_cli.workshop.synthetic.fuse import counting
from dpm_cli.workshop.synthetic.pairs import sample_pairs

_ROUNDS = 4


@dataclass(frozen=True)
class RenderSpeed:
    """Answer of `render_speed`; a frame is one of a pair's two images with its truth."""

    device: str
    size: tuple[int, int]
    """(height, width)."""
    batch: int
    pairs_per_second: float
    compiled_pairs_per_second: float | None
    """None where not asked for."""
    compile_s: float | None
    """What compiling cost."""
    eager_bytes_per_pixel: float
    fused_bytes_per_pixel: float
    operations_per_pixel: float

    @property
    def frames_per_second(self) -> float:
        """Plain."""
        return 2 * self.pairs_per_second


def render_speed(
    device: torch.device, size: tuple[int, int], batch: int, *, compile: bool, reporter: Reporter
) -> RenderSpeed:
    """Render batches of training pairs of `size` (H, W) and time them."""
    with reporter.task("count", None):
        _draw(device, size, batch, 0, False)
        with counting() as traffic:
            _draw(device, size, batch, 0, False)
    with reporter.task("plain", None):
        plain_s = _batch_seconds(device, size, batch, False)
    fused_s = compile_s = None
    if compile:
        began = time.perf_counter()
        with reporter.task("compile", None):
            for number in range(2):  # sizes of lists are fixed at first, then free
                _draw(device, size, batch, number, True)
        compile_s = time.perf_counter() - began
        with reporter.task("compiled", None):
            fused_s = _batch_seconds(device, size, batch, True)
    pixels = 2 * batch * size[0] * size[1]
    return RenderSpeed(
        device=str(device),
        size=size,
        batch=batch,
        pairs_per_second=batch / plain_s,
        compiled_pairs_per_second=None if fused_s is None else batch / fused_s,
        compile_s=compile_s,
        eager_bytes_per_pixel=traffic.eager_bytes / pixels,
        fused_bytes_per_pixel=traffic.fused_bytes / pixels,
        operations_per_pixel=traffic.operations / pixels,
    )


def _draw(
    device: torch.device, size: tuple[int, int], batch: int, number: int, compile: bool
) -> None:
    generator = torch.Generator().manual_seed(number)
    sample_pairs(
        batch, size=size, generator=generator, still_fraction=0.25, device=device, compile=compile
    )
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _batch_seconds(device: torch.device, size: tuple[int, int], batch: int, compile: bool) -> float:
    """Mean over a few batches, after one that fills the pool of textures."""
    for number in range(_ROUNDS):
        _draw(device, size, batch, number, compile)
    began = time.perf_counter()
    for number in range(_ROUNDS):
        _draw(device, size, batch, number, compile)
    return (time.perf_counter() - began) / _ROUNDS

"""How much is worked on at once: as much as fits into what the user allows and into what is free.

The number of pairs in a batch may change the last bits of a network's answers, so it is frozen in the manifest. The
other numbers change speed only: the bytes of a run are the same.
"""

import os
from dataclasses import dataclass

import torch

from dpm_cli.devices import free_memory_bytes, used_memory_bytes
from dpm_cli.errors import MemoryExhaustedError
from dpm_cli.predictors.protocol import PredictorInfo

_OTHERS = 200 * 2**20
"""What the stages take whatever the size: tables of the alignment, a page of points, libraries' own pools."""
_MATCHING = 1300
"""Bytes a working pixel of flows and pictures that matching keeps, and of frames decoded ahead."""
_FUSING = 1500
"""Bytes a working pixel of what is known of one frame while it is fused."""
_MOST_WORKERS = 4
_MOST_PAIRS = {"cpu": 4}
"""A CPU gains nothing from more pairs at a time; elsewhere 64."""


@dataclass(frozen=True)
class MemoryPlan:
    """How much a run holds at a time."""

    batch_size: int
    """Pairs that are predicted together."""
    features_bytes: int
    """Of encoded frames that are kept."""
    workers: int
    """Frames that are fused at the same time."""
    total_bytes: int
    """Memory of the process that this is expected to take at its fullest."""


def plan_memory(
    most_bytes: int | None,
    device: torch.device,
    info: PredictorInfo,
    size: tuple[int, int],
    batch_size: int | None = None,
) -> MemoryPlan:
    """Plan for working images of `size` (height, width).

    Args:
        most_bytes: what the user allows, of RAM and of the device's own memory; None = what is free.
        device: where the predictor is.
        info: of the predictor, which is loaded already.
        size: of the working images.
        batch_size: pairs at a time where that is settled.

    Raises:
        MemoryExhaustedError: `most_bytes` is too little for one pair and one frame at a time.
    """
    pixels = size[0] * size[1]
    pair, frame = info.pair_bytes_per_pixel * pixels, _FUSING * pixels
    fixed = used_memory_bytes() + _OTHERS + _MATCHING * pixels
    ram = used_memory_bytes() + free_memory_bytes(torch.device("cpu"))
    spare = min(ram, most_bytes or ram) - fixed
    on_cpu = device.type == "cpu"
    room = spare if on_cpu else free_memory_bytes(device)
    room = room if on_cpu else min(room, most_bytes or room)
    least = max(pair, frame) if on_cpu else frame
    if most_bytes and (spare < least or room < pair):
        needed = fixed + least if spare < least else pair
        raise MemoryExhaustedError(
            f"--max-memory {most_bytes >> 20}M: at {size[1]}x{size[0]} a run takes {(needed >> 20) + 1}M or more: "
            "give more, or a smaller --size"
        )
    batch = batch_size or max(1, min(_MOST_PAIRS.get(device.type, 64), room // 2 // pair))
    workers = max(1, min(os.cpu_count() or 1, _MOST_WORKERS, spare // frame))
    return MemoryPlan(
        batch_size=batch,
        features_bytes=max(room // 4, 0),
        workers=workers,
        total_bytes=fixed + max(batch * pair * on_cpu, workers * frame),
    )

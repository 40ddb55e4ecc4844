"""How much is worked on at once: as much as fits into what the user allows and into what is free.

    what the process holds already + what every size takes
        + the largest of: predicting (matching, network, reducing), aligning, fusing, writing

Pairs at a time and frames of a window may change the last bits of a network's answers, or more, so they are frozen in
the manifest. The other numbers change speed only: the bytes of a run are the same.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dpm_cli.clip_store import ClipPlan
from dpm_cli.config import ReconstructSettings
from dpm_cli.devices import free_memory_bytes, used_memory_bytes
from dpm_cli.errors import MemoryExhaustedError
from dpm_cli.matching.matcher import AHEAD, FARTHEST_CHAIN, MOST_STEPS, PICTURES, MatchingRoom
from dpm_cli.passes.loops import most_loops
from dpm_cli.passes.run import grid_points, pass_graph
from dpm_cli.passes.windows import window_size
from dpm_cli.predictors.protocol import MeasuresFlow, Predictor, PredictorInfo

_OTHERS = 100 * 2**20
"""What the stages take whatever the size: tables of the alignment, libraries' own pools."""
_PAIR = 24 * 2**20
"""What predicting and reducing one pair takes whatever the size: networks and fits that work at a size of their own."""
_PICTURE, _FLOW = 6, 16
"""Bytes a pixel of a picture that the matcher keeps, and of a flow both ways."""
_MATCHING = 250
"""Bytes a pixel that measuring the flow of one pair takes."""
_REDUCING = 650
"""Of reducing and storing one pair, and of those that wait for it, while the next are predicted."""
_FUSING = 800
"""Of one frame in the rounds over the frames, and while it is fused."""
_RECORDS = 500
"""Of the frames that those rounds keep."""
_ALIGNING = 150
"""Bytes a point of the coarse grid of all passes."""
_WRITING, _PREVIEW = 60, 48 * 2**20
"""Bytes a pixel of the source, or of a working image where that is larger, while pictures are written; and in all."""
_LEAST_ROOM = MatchingRoom(1, 0, FARTHEST_CHAIN)
_MOST_FEATURES = 24
"""Encoded frames that are worth keeping: those that the next pairs share."""
_MOST_WORKERS = 4
_MOST_PAIRS = {"cpu": 4}
"""A CPU gains nothing from more pairs at a time; elsewhere 64."""
_WINDOW_MAP = 16
"""Bytes a pixel of a window's points and confidence, of each frame at the time of each."""


@dataclass(frozen=True)
class Task:
    """What a run is to do, as far as memory is concerned."""

    size: tuple[int, int]
    """(height, width) of the working images."""
    source_size: tuple[int, int]
    """(height, width) of the source."""
    grid_points: int
    """Points of the coarse grid of all passes together, which the alignment sees."""
    matches: bool
    """The predictor measures flow."""
    batch_size: int | None = None
    """Pairs at a time where that is settled."""
    window: int | None = None
    """Frames of a window, at most; None = pairs are predicted."""
    window_settled: bool = False
    """A window has exactly so many."""

    @property
    def pixels(self) -> int:
        """Of a working image."""
        return self.size[0] * self.size[1]


@dataclass(frozen=True)
class MemoryPlan:
    """How much a run holds at a time."""

    batch_size: int
    """Pairs that are predicted, or reduced, together."""
    window: int | None
    """Frames of a window."""
    matching: MatchingRoom
    """What the matcher does at a time."""
    features_bytes: int
    """Of encoded frames that are kept."""
    workers: int
    """Frames that are fused at the same time."""
    total_bytes: int
    """Memory of the process that this is expected to take at its fullest."""
    short: bool = False
    """With more memory more would be done at once."""

    def text(self, most_bytes: int | None) -> str:
        """One line for people."""
        limit = f" of {_mib(most_bytes)}" if most_bytes else ""
        what = f"frames of a window: {self.window}, " if self.window else ""
        return (
            f"memory: about {_mib(self.total_bytes)}{limit} ({what}pairs at a time: {self.batch_size}, "
            f"threads that measure flow: {self.matching.threads}, that fuse frames: {self.workers})"
        )


@dataclass(frozen=True)
class _Costs:
    """Bytes that the stages of a task take beyond what the process holds already, as measured at 160 to 432 pixels."""

    task: Task
    info: PredictorInfo
    on_cpu: bool
    """The network takes RAM too."""

    def network(self, plan: MemoryPlan) -> int:
        """What the network takes where it runs."""
        pairs = plan.window / 2 if plan.window else plan.batch_size
        return int(pairs * self.info.pair_bytes_per_pixel * self.task.pixels)

    def predict(self, plan: MemoryPlan) -> int:
        """RAM of predicting."""
        room = plan.matching
        matching = (
            PICTURES * _PICTURE + (room.steps + room.ahead) * _FLOW + room.threads * _MATCHING
        )
        maps = plan.window**2 * _WINDOW_MAP if plan.window else 0
        a_pixel = plan.batch_size * _REDUCING + matching * self.task.matches + maps
        network = self.network(plan) + plan.features_bytes if self.on_cpu else 0
        return a_pixel * self.task.pixels + plan.batch_size * _PAIR + network

    def later(self, plan: MemoryPlan) -> int:
        """RAM of the largest of what comes after."""
        source = self.task.source_size[0] * self.task.source_size[1]
        return max(
            self.task.grid_points * _ALIGNING,
            (plan.workers * _FUSING + _RECORDS) * self.task.pixels,
            max(self.task.pixels, source) * _WRITING + _PREVIEW,
        )


def task_of(
    plan: ClipPlan, settings: ReconstructSettings, predictor: Predictor, frozen: dict[str, Any]
) -> Task:
    """The task of a run; `frozen` is the manifest of an unfinished one, or empty."""
    window = frozen.get("window")
    return Task(
        size=plan.size,
        source_size=plan.source_size,
        grid_points=grid_points(plan.size, most_passes(len(plan), settings.pairs, window)),
        matches=isinstance(predictor, MeasuresFlow),
        batch_size=frozen.get("batch_size") or settings.batch_size,
        window=window or window_size(settings.pairs),
        window_settled=window is not None,
    )


def most_passes(frames: int, graph: str, window: int | None = None) -> int:
    """Pairs of a clip that is not cut, for the value of `--pairs`, with all the loops that there may be."""
    pairs = pass_graph(np.zeros(frames, np.int64), graph, window).pairs
    return len(pairs) + (most_loops(frames) if graph == "auto" else 0)


def plan_memory(
    most_bytes: int | None, device: torch.device, info: PredictorInfo, task: Task
) -> MemoryPlan:
    """Plan a run.

    Args:
        most_bytes: what the user allows, of RAM and of the device's own memory; None = what is free.
        device: where the predictor is.
        info: of the predictor, which is loaded already.
        task: what is to be done.

    Raises:
        MemoryExhaustedError: `most_bytes` is too little for the smallest pieces of work.
    """
    on_cpu = device.type == "cpu"
    costs = _Costs(task, info, on_cpu)
    fixed = used_memory_bytes() + _OTHERS
    ram = used_memory_bytes() + free_memory_bytes(torch.device("cpu"))
    spare = min(ram, most_bytes or ram) - fixed
    device_room = spare if on_cpu else min(free_memory_bytes(device), most_bytes or 2**62)

    def fits(plan: MemoryPlan, share: float = 1.0) -> bool:
        there = on_cpu or costs.network(plan) <= share * device_room
        return there and max(costs.predict(plan), costs.later(plan)) <= share * spare

    window = task.window if task.window is None or task.window_settled else 2
    least = MemoryPlan(task.batch_size or 1, window, _LEAST_ROOM, 0, 1, 0)
    if most_bytes and not fits(least):
        needed = fixed + max(costs.predict(least), costs.later(least))
        raise MemoryExhaustedError(_too_little(most_bytes, max(needed, costs.network(least)), task))
    plan = _grown(least, task, device, fits)
    short = plan != _grown(least, task, device, lambda *_: True)
    room = spare - costs.predict(plan) if on_cpu else device_room - costs.network(plan)
    features = min(room // 2, _MOST_FEATURES * info.feature_bytes_per_pixel * task.pixels)
    plan = replace(plan, features_bytes=max(features, 0), short=short)
    return replace(plan, total_bytes=fixed + max(costs.predict(plan), costs.later(plan)))


def _grown(
    plan: MemoryPlan, task: Task, device: torch.device, fits: Callable[..., bool]
) -> MemoryPlan:
    """The largest plan that fits: windows first, then pairs (no more than half of the room), matching, fusing."""
    if task.window and not task.window_settled:
        plan = _largest(plan, task.window, lambda n: replace(plan, window=n), fits)
    if not task.batch_size:
        most, half = _MOST_PAIRS.get(device.type, 64), lambda plan: fits(plan, 0.5)
        plan = _largest(plan, most, lambda n: replace(plan, batch_size=n), half)
    plan = _largest(plan, torch.get_num_threads(), lambda n: _measuring(plan, n), fits)
    keeping = replace(plan, matching=replace(plan.matching, steps=MOST_STEPS))
    plan = keeping if fits(keeping) else plan
    most = min(os.cpu_count() or 1, _MOST_WORKERS)
    return _largest(plan, most, lambda n: replace(plan, workers=n), fits)


def _measuring(plan: MemoryPlan, threads: int) -> MemoryPlan:
    return replace(plan, matching=MatchingRoom(threads, AHEAD * threads, FARTHEST_CHAIN))


def _largest(
    plan: MemoryPlan,
    most: int,
    changed: Callable[[int], MemoryPlan],
    fits: Callable[[MemoryPlan], bool],
) -> MemoryPlan:
    """The changed plan of the largest number up to `most` that fits; `plan` where none does."""
    return next((p for n in range(most, 0, -1) if fits(p := changed(n))), plan)


def over_budget(most_bytes: int | None, peak_bytes: int) -> str | None:
    """What to say where a process has taken more than the user allows."""
    if most_bytes is None or peak_bytes <= most_bytes:
        return None
    return (
        f"--max-memory {_mib(most_bytes)} was not kept: this process has taken {_mib(peak_bytes)}"
    )


def _too_little(most_bytes: int, needed_bytes: int, task: Task) -> str:
    height, width = task.size
    return (
        f"--max-memory {_mib(most_bytes)}: at {width}x{height} a run takes {_mib(needed_bytes)} or more: "
        "give more, or a smaller --size"
    )


def _mib(count: int) -> str:
    """As `--max-memory` takes it."""
    return f"{-(-count // 2**20)}M"

"""The pairs of one input spread over the processes of a Ray cluster that have nothing else to do.

The process that has the input takes pieces too, and hands out as many more as there is room for at the moment; inputs
that still wait for a process come first. A piece whose process dies is begun again elsewhere and goes on with what is
in the folder; one that fails is left to the process that has the input, which then says why.
"""

import contextlib
import os
from collections import deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dpm_cli.errors import DpmError
from dpm_cli.pipeline.machine import Machine
from dpm_cli.pipeline.pass_work import PassWork, Spread
from dpm_cli.pipeline.ray_cluster import RETRIES, machine_here
from dpm_cli.progress import SilentReporter

_PIECES = 4
"""For each process that there is room for: so many that all end at about the same time."""


def spread_over(needs: dict[str, Any]) -> Spread:
    """Pieces to processes that take `needs` of a machine each; to be called inside of a task of Ray."""
    return partial(_spread, needs)


def _spread(needs: dict[str, Any], work: PassWork, machine: Machine) -> int:
    import ray
    import ray.exceptions

    most = _room(ray.cluster_resources(), needs)
    if most < 2:
        return 0
    task = ray.remote(max_retries=RETRIES, **needs)(make_piece)
    here, shared = Path.cwd(), ray.put(work)
    waiting, running, made = deque(work.pieces(_PIECES * most)), [], 0
    try:
        while waiting or running:
            room = min(_room(ray.available_resources(), needs), most - 1 - len(running))
            for _ in range(min(room, len(waiting))):
                running.append(task.remote(here, shared, waiting.popleft()))
            if waiting:
                work.run(machine, SilentReporter(), waiting.popleft())
            if running:
                timeout = 0 if waiting else None
                ended, running = ray.wait(running, num_returns=len(running), timeout=timeout)
                for one in ended:
                    with contextlib.suppress(ray.exceptions.RayError):
                        made += ray.get(one)
    finally:
        for one in running:
            ray.cancel(one, force=True)
    return made


def make_piece(here: Path, work: PassWork, piece: range) -> bool:
    """One piece, in a process of the cluster, and whether it is whole."""
    os.chdir(here)
    machine = machine_here(work.settings)
    try:
        work.prepare(machine)
        work.run(machine, SilentReporter(), piece)
    except (DpmError, OSError):
        return False
    return True


def _room(resources: Mapping[str, float], needs: dict[str, Any]) -> int:
    """Processes that fit into what a cluster has."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return int(min(resources.get(names[name], 0) // count for name, count in needs.items()))

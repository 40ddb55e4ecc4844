"""A Ray cluster: connecting to it, what a run takes of it, and the model in each of its processes."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType

import torch

from dpm_cli.config import ReconstructSettings
from dpm_cli.errors import DpmError, MissingExtraError
from dpm_cli.pipeline.machine import Machine, load_machine
from dpm_cli.progress import SilentReporter

RETRIES = 2
"""Times that work is begun again whose process has died."""
_CPUS = 2
"""Cores that a run is counted as: one predicts while the others match, and more than two are seldom busy."""


@lru_cache(maxsize=1)
def machine_here(settings: ReconstructSettings) -> Machine:
    """The model, loaded once in each process."""
    torch.set_num_threads(_CPUS)
    return load_machine(settings, SilentReporter())


@contextmanager
def cluster(address: str) -> Iterator[ModuleType]:
    """Ray, connected.

    Args:
        address: of a running cluster, or `auto`: the one that runs here, else one of this machine alone.

    Raises:
        MissingExtraError: Ray is not installed.
        DpmError: no cluster answers at `address`.
    """
    # Nothing is sent to Ray's makers, and a run is no less urgent than it is without Ray.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address != "auto":
        _require_answer(address)
    if ray.is_initialized():
        # A program that is connected already goes on with that.
        yield ray
        return
    if address != "auto":
        ray.init(address=address, **quiet)
    else:
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:
            ray.init(address="local", include_dashboard=False, **quiet)
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise DpmError(
            f"--ray {address}: no Ray cluster answers there; `ray start --head` starts one, --ray auto needs none"
        ) from error


def needs(ray: ModuleType, settings: ReconstructSettings) -> dict[str, int]:
    """What of a machine one run takes."""
    have = ray.cluster_resources()
    on_gpu = settings.device.startswith("cuda") or (settings.device == "auto" and "GPU" in have)
    return {"num_cpus": min(_CPUS, int(have["CPU"]))} | ({"num_gpus": 1} if on_gpu else {})

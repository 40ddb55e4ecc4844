"""Many inputs spread over processes by Ray: the cores or GPUs of one machine, or many machines that share a disk.

Every input is one task of Ray, whose scheduler decides where it runs. A task whose process or machine dies is started
again elsewhere and goes on with what the folder holds; an input that is wrong fails once and the others go on.
Processes are used again, so a model is loaded once in each.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch

from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.errors import DpmError, Failure, MissingExtraError
from dpm_cli.pipeline.machine import Machine, load_machine
from dpm_cli.pipeline.outcome import Outcome, failure_of
from dpm_cli.pipeline.run import FinishedRun, Rights, run_target
from dpm_cli.progress import Reporter, SilentReporter

_RETRIES = 2
"""Times that an input is begun again whose process has died."""
_CPUS = 2
"""Cores that a run is counted as: one predicts while the others match, and more than two are seldom busy."""


def reconstruct_on_ray(
    targets: list[RunTarget],
    settings: ReconstructSettings,
    address: str,
    *,
    resume: bool = True,
    overwrite: bool = False,
    reporter: Reporter,
) -> list[FinishedRun]:
    """Reconstruct several clips on a cluster; the runs in the order of their inputs.

    Args:
        targets: inputs and folders; every machine must see them, and the current folder, under the same paths.
        settings: of all of them.
        address: of a running cluster, or `auto`: the one that runs here, else one of this machine alone.
        resume: go on with unfinished runs of the same input and settings.
        overwrite: replace other runs.
        reporter: told of each input that ends.

    Raises:
        MissingExtraError: Ray is not installed.
        PartialResultError: some failed; it holds the finished runs and every failure.
        AllFailedError: all failed.
        DpmError: no cluster answers at `address`.
    """
    rights = Rights(resume, overwrite)
    outcome, here = Outcome(), Path.cwd()
    with _cluster(address) as ray:
        task = ray.remote(max_retries=_RETRIES, **_needs(ray, settings))(_run)
        waiting = {task.remote(here, target, settings, rights): target for target in targets}
        try:
            with reporter.task("inputs", len(targets)) as advance:
                while waiting:
                    (ended,), _ = ray.wait(list(waiting))
                    _collect(ray, ended, waiting.pop(ended), outcome, reporter)
                    advance()
        except KeyboardInterrupt:
            raise outcome.interrupted(targets[0].folder.parent) from None
    order = [target.folder for target in targets]
    outcome.finished.sort(key=lambda run: order.index(run.folder))
    return outcome.result()


def _collect(
    ray: ModuleType, ended: object, target: RunTarget, outcome: Outcome, reporter: Reporter
) -> None:
    """Add what became of one task."""
    try:
        found = ray.get(ended)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        died = f"its process died {_RETRIES + 1} times; is there memory enough for it?"
        found = Failure(target.inputs[0], died, DpmError.exit_code)
    if isinstance(found, FinishedRun):
        outcome.finished.append(found)
        reporter.note(f"{found.folder}: done, {len(outcome.finished)} so far")
    else:
        outcome.failures.append(found)
        reporter.note(f"{found.input}: {found.error}")


def _run(
    here: Path, target: RunTarget, settings: ReconstructSettings, rights: Rights
) -> FinishedRun | Failure:
    """One input, in a process of the cluster; a defect of the program is raised."""
    os.chdir(
        here
    )  # so that paths mean what they mean to the user, and the run is the same as one without Ray
    try:
        return run_target(target, settings, _machine(settings), rights, SilentReporter())
    except (DpmError, OSError) as error:
        failure = failure_of(target, error)
        if failure is None:
            raise
        return failure


@lru_cache(maxsize=1)
def _machine(settings: ReconstructSettings) -> Machine:
    torch.set_num_threads(_CPUS)
    return load_machine(settings, SilentReporter())


@contextmanager
def _cluster(address: str) -> Iterator[ModuleType]:
    """Ray, connected."""
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


def _needs(ray: ModuleType, settings: ReconstructSettings) -> dict[str, int]:
    """What of a machine one run takes."""
    have = ray.cluster_resources()
    on_gpu = settings.device.startswith("cuda") or (settings.device == "auto" and "GPU" in have)
    return {"num_cpus": min(_CPUS, int(have["CPU"]))} | ({"num_gpus": 1} if on_gpu else {})

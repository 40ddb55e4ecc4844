"""Many inputs spread over processes by Ray: the cores or GPUs of one machine, or many machines that share a disk.

Every input is one task of Ray, whose scheduler decides where it runs. A task whose process or machine dies is started
again elsewhere and goes on with what the folder holds; an input that is wrong fails once and the others go on. Where
there is room left the pairs of an input are spread too (`ray_passes`), those of all its shots alike.
Processes are used again, so a model is loaded once in each.
"""

import os
from pathlib import Path
from types import ModuleType

from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.errors import DpmError, Failure
from dpm_cli.pipeline.outcome import Outcome, failure_of
from dpm_cli.pipeline.ray_cluster import RETRIES, cluster, machine_here, needs
from dpm_cli.pipeline.ray_passes import spread_over
from dpm_cli.pipeline.run import FinishedRun, Rights, run_target
from dpm_cli.progress import Reporter, SilentReporter


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
    with cluster(address) as ray:
        takes = needs(ray, settings)
        task = ray.remote(max_retries=RETRIES, **takes)(_run)
        waiting = {task.remote(here, target, settings, rights, takes): target for target in targets}
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
        died = f"its process died {RETRIES + 1} times; is there memory enough for it?"
        found = Failure(target.inputs[0], died, DpmError.exit_code)
    if isinstance(found, FinishedRun):
        outcome.finished.append(found)
        reporter.note(f"{found.folder}: done, {len(outcome.finished)} so far")
    else:
        outcome.failures.append(found)
        reporter.note(f"{found.input}: {found.error}")


def _run(
    here: Path,
    target: RunTarget,
    settings: ReconstructSettings,
    rights: Rights,
    takes: dict[str, int],
) -> FinishedRun | Failure:
    """One input, in a process of the cluster that takes so much of it; a defect of the program is raised."""
    os.chdir(
        here
    )  # so that paths mean what they mean to the user, and the run is the same as one without Ray
    try:
        return run_target(
            *(target, settings, machine_here(settings), rights, SilentReporter()),
            spread=spread_over(takes),
        )
    except (DpmError, OSError) as error:
        failure = failure_of(target, error)
        if failure is None:
            raise
        return failure

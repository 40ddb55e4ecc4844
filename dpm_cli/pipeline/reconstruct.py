"""A video becomes a 4D sequence: decode, pair, predict, reduce, align, fuse, write.

Nothing holds the whole video: working images, passes and frames live on disk and are read when needed. Every stage
leaves whole files, so a run that was stopped goes on where it was and gives the same numbers.
"""

from pathlib import Path

from dpm_cli.config import ReconstructSettings, RunTarget
from dpm_cli.errors import DpmError
from dpm_cli.pipeline.machine import load_machine
from dpm_cli.pipeline.outcome import Outcome, failure_of
from dpm_cli.pipeline.run import FinishedRun, Rights, run_target
from dpm_cli.progress import Reporter, SilentReporter
from dpm_cli.sequence import Sequence4D


def reconstruct(
    source: str | Path | list[str],
    output: str | Path | None = None,
    settings: ReconstructSettings | None = None,
    *,
    resume: bool = True,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Sequence4D:
    """Reconstruct one clip and open the result.

    Args:
        source: a video, an image folder, or a list of images.
        output: the run folder; `<stem>_dpm` in the current folder if None.
        settings: everything else; `ReconstructSettings()` is what the command does.
        resume: finish an unfinished run of the same input and settings.
        overwrite: replace another run in the folder.
        reporter: progress; silent if None.

    Raises:
        DpmError: see `dpm_cli.errors`.
    """
    inputs = tuple(source) if isinstance(source, list) else (str(source),)
    folder = Path(output) if output else Path(f"{Path(inputs[0]).stem}_dpm")
    run = reconstruct_many(
        [RunTarget(inputs, folder)],
        settings or ReconstructSettings(),
        resume=resume,
        overwrite=overwrite,
        reporter=reporter,
    )[0]
    return Sequence4D.open(run.folder)


def reconstruct_many(
    targets: list[RunTarget],
    settings: ReconstructSettings,
    *,
    resume: bool = True,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> list[FinishedRun]:
    """Reconstruct several clips with one loaded model.

    Raises:
        PartialResultError: some failed; it holds the finished runs and every failure.
        AllFailedError: all of several failed.
        DpmError: the only one failed.
    """
    reporter = reporter or SilentReporter()
    machine = load_machine(settings, reporter)
    rights = Rights(resume, overwrite)
    outcome = Outcome()
    for target in targets:
        try:
            outcome.finished.append(run_target(target, settings, machine, rights, reporter))
        except KeyboardInterrupt:
            raise outcome.interrupted(target.folder) from None
        except (DpmError, OSError) as error:
            failure = failure_of(target, error)
            if len(targets) == 1 or failure is None:
                raise
            outcome.failures.append(failure)
            reporter.note(f"{failure.input}: {failure.error}")
    return outcome.result()

"""What became of several inputs: the runs that were written, and why others were not."""

from dataclasses import dataclass, field
from pathlib import Path

from dpm_cli.config import RunTarget
from dpm_cli.errors import (
    AllFailedError,
    DpmError,
    Failure,
    InterruptedRunError,
    PartialResultError,
)
from dpm_cli.files import unwritable
from dpm_cli.pipeline.run import FinishedRun


@dataclass(frozen=True)
class Outcome:
    """Filled as inputs end."""

    finished: list[FinishedRun] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def result(self) -> list[FinishedRun]:
        """The runs, where nothing failed.

        Raises:
            PartialResultError: some failed; it holds the finished runs and every failure.
            AllFailedError: all failed.
        """
        count = len(self.finished) + len(self.failures)
        if self.failures and self.finished:
            raise PartialResultError(
                f"{len(self.failures)} of {count} inputs failed", self.finished, self.failures
            )
        if self.failures:
            raise AllFailedError(f"all {count} inputs failed", self.failures)
        return self.finished

    def interrupted(self, folder: Path) -> InterruptedRunError:
        """The error of a user's stop while `folder` was written."""
        return InterruptedRunError(
            f"interrupted; what was finished is kept in {folder}, the same command goes on",
            self.finished,
            self.failures,
        )


def failure_of(target: RunTarget, error: DpmError | OSError) -> Failure | None:
    """What is wrong with one input, None for a defect of the program."""
    name = target.inputs[0]
    if isinstance(error, DpmError):
        return Failure(name, str(error), error.exit_code)
    line = unwritable(error)
    return None if line is None else Failure(name, line, DpmError.exit_code)

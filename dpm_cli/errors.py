"""Everything a user can do wrong, as one tree; the command line turns each into one line and an exit code.

    DpmError                 1  failed
      UsageError             2  arguments that contradict each other or the run folder
        MissingExtraError    2  an optional dependency is not installed
      InputError             3  unreadable, empty or inconsistent input
      WeightsError           4  weights missing, wrong, truncated or refused
      MemoryExhaustedError   5  out of memory after the batch was made as small as it goes
      UnfinishedError        .  several inputs, not all of them written; holds those that were, and why the others not
        PartialResultError   6  some failed
        AllFailedError       .  all failed: their common code, 1 where they differ
        InterruptedRunError 130 stopped by the user; what was finished is kept
      DegenerateGeometryError 1 a fit has no unique answer (collinear points, no parallax, ...)

A message says what, where and the way out. Errors of the program itself are not in the tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class DpmError(Exception):
    """Root of all errors a user can act on."""

    exit_code = 1


class UsageError(DpmError):
    """Arguments that cannot be used together, or a result that is not ours to overwrite."""

    exit_code = 2


class MissingExtraError(UsageError):
    """An optional dependency is needed."""

    def __init__(self, package: str, extra: str):
        super().__init__(f'{package} is not installed: pip install "dpm-cli[{extra}]"')


class InputError(DpmError):
    """Input that cannot be read or used."""

    exit_code = 3


class WeightsError(DpmError):
    """Weights that are missing, of another network, damaged or unsafe."""

    exit_code = 4


class MemoryExhaustedError(DpmError):
    """Memory ran out at the smallest batch."""

    exit_code = 5


@dataclass(frozen=True)
class Failure:
    """One of several inputs that failed."""

    input: str
    error: str
    exit_code: int


class UnfinishedError(DpmError):
    """Several inputs were not all reconstructed."""

    def __init__(
        self, message: str, finished: Sequence[Any] = (), failures: Sequence[Failure] = ()
    ):
        super().__init__(message)
        self.finished = list(finished)
        """Runs that were written."""
        self.failures = list(failures)


class PartialResultError(UnfinishedError):
    """Some inputs of several failed."""

    exit_code = 6


class AllFailedError(UnfinishedError):
    """All of several inputs failed."""

    def __init__(self, message: str, failures: Sequence[Failure]):
        super().__init__(message, (), failures)
        codes = {failure.exit_code for failure in failures}
        self.exit_code = codes.pop() if len(codes) == 1 else 1


class InterruptedRunError(UnfinishedError):
    """The user pressed Ctrl-C."""

    exit_code = 130


class DegenerateGeometryError(DpmError):
    """A geometric fit without a unique answer."""

"""Progress for people: Rich bars on a terminal, tqdm lines in a log, silence where nobody watches.

The library takes a `Reporter` and never prints. `SilentReporter` is the default, the command passes `RichReporter`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from tqdm import tqdm


class Reporter(Protocol):
    """What a long-running function tells its caller."""

    def task(
        self, description: str, total: int | None
    ) -> AbstractContextManager[Callable[..., object]]:
        """Context manager that yields `advance(n=1)`."""
        ...

    def note(self, message: str) -> None:
        """One line worth reading: a decision, a fallback, something that could not be known."""
        ...

    def detail(self, message: str) -> None:
        """One line for those who asked for more: timings, counts."""
        ...


class SilentReporter:
    """Says nothing."""

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Callable[..., object]]:
        """Yield an `advance` that does nothing."""
        yield lambda n=1: None

    def note(self, message: str) -> None:
        """Drop the message."""

    def detail(self, message: str) -> None:
        """Drop the message."""


class RichReporter:
    """Bars with time left on a terminal; in a log a line of tqdm every half minute and at the end of a stage."""

    def __init__(self, console: Console, verbose: bool = False):
        self.console, self.verbose = console, verbose

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Callable[..., object]]:
        """Yield `advance(n=1)` that moves a bar of `total` steps."""
        if not self.console.is_terminal:
            with tqdm(
                total=total,
                desc=description,
                file=self.console.file,
                mininterval=30.0,
                ascii=True,
                ncols=80,
            ) as bar:
                yield bar.update
            return
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=False) as progress:
            task_id = progress.add_task(description, total=total)
            yield lambda n=1: progress.advance(task_id, n)

    def note(self, message: str) -> None:
        """Print one dim line."""
        self.console.print(f"  {message}", style="dim", highlight=False)

    def detail(self, message: str) -> None:
        """Print one dim line if verbose."""
        if self.verbose:
            self.note(message)
